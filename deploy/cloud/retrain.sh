#!/usr/bin/env bash
# Train on a rented machine and bring the bundle home; `retrain.sh --help` says how. machine.sh is its half over there.
set -euo pipefail
((BASH_VERSINFO[0] >= 5)) || { echo "retrain: needs bash 5 (Linux, or WSL on Windows)" >&2 && exit 2; }

readonly STATUS_UNREACHABLE=255 # ssh's own
readonly LONGEST_PAUSE_S=60     # between two tries to connect again
readonly REQUIRED="HOST RUN CONFIG"
readonly ONCE="HOST PORT USER KEY REMOTE_DIR REMOTE_PYTHON PYTHON RUN CONFIG STOP STOP_COMMAND PATIENCE_S"
readonly REPEATED="SSH_OPTION REMOTE_ENV SET DATA"
declare -A conf=([PORT]=22 [USER]=root [REMOTE_DIR]=moderation-retrain [PYTHON]=python3.11 [PATIENCE_S]=3600)
declare -A given=()
declare -a SSH_OPTION=() REMOTE_ENV=() SET=() DATA=()
is_home=no
was_interrupted=no

usage() {
    cat <<'HELP'
usage: deploy/cloud/retrain.sh CONF [COMMAND]

Trains on a rented machine and brings the bundle home: checks the machine, uploads the code and the data that the training config
names, builds the environment, trains, follows the log, downloads the run, verifies the bundle, and switches the machine off.

The same command again carries on: it follows a training that still runs, resumes one that was cut off, and downloads one that is done.
Ctrl-C leaves the training running over there.

commands
  start    (default) all of the above, as far as it has not been done yet
  status   what the machine is, and how far the training
  log      everything that the training has said so far
  stop     have the training save a checkpoint and end; `start` carries on from it

example
  cp deploy/cloud/retrain.example.conf a10.conf     # then fill in host, key and training config
  deploy/cloud/retrain.sh a10.conf status           # is the machine fit?
  deploy/cloud/retrain.sh a10.conf                  # the last line printed is the bundle's path: runs/RUN/bundle

exit status: 0 done; 1 the bundle is not what was trained, or the machine could not be switched off; 2 wrong use or an unfit machine;
130 interrupted; 255 no connection; else that of the training.
docs/rented-gpu.md goes from renting the machine to switching it off.
HELP
}

say() { printf 'retrain: %s\n' "$*" >&2; }

fail() { # STATUS MESSAGE
    say "$2"
    exit "$1"
}

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then usage && exit; fi
    (($# == 1 || $# == 2)) || { usage >&2 && exit 2; }
    read_conf "$1"
    check_conf "$1"
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    set_places
    trap 'was_interrupted=yes; exit 130' INT TERM
    case ${2:-start} in
        start) trap finish EXIT ;;
        status | log | stop) greet ;;
        *) fail 2 "unknown command $2: it is one of start, status, log, stop" ;;
    esac
    "${2:-start}"
}

# --- The conf file -------------------------------------------------------------------------------------------------------------------

read_conf() { # FILE: KEY=value lines are parsed, never run
    local line number=0
    [[ -r $1 ]] || fail 2 "$1: can't be read; deploy/cloud/retrain.example.conf is one to copy"
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#|$) ]] || read_key "$1:$number" "$line"
    done <"$1"
}

read_key() { # PLACE LINE
    [[ $2 =~ ^[[:space:]]*([A-Za-z_]+)[[:space:]]*=[[:space:]]*(.*[^[:space:]]|)[[:space:]]*$ ]] || fail 2 "$1: write KEY=value"
    local key=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    if [[ " $REPEATED " == *" $key "* ]]; then
        local -n values=$key
        values+=("$value")
        return
    fi
    [[ " $ONCE " == *" $key "* ]] || fail 2 "$1: unknown key $key; the keys are $ONCE, and any number of times $REPEATED"
    [[ -z ${given[$key]:-} ]] || fail 2 "$1: $key stands twice"
    given[$key]=yes
    conf[$key]=$value
}

check_conf() { # FILE
    local key
    for key in $REQUIRED; do [[ -n ${conf[$key]:-} ]] || fail 2 "$1: $key is missing"; done
    check_value "$1" PORT '^[0-9]+$' "a number"
    check_value "$1" PATIENCE_S '^[0-9]+$' "a number of seconds"
    check_value "$1" RUN '^[A-Za-z0-9][A-Za-z0-9._-]*$' "letters, digits and . _ - only"
    check_value "$1" REMOTE_DIR '^[A-Za-z0-9._/-]+$' "letters, digits and . _ - / only; without a leading / it is below the user's home"
    conf[STOP]=${conf[STOP]:-$([[ -n ${conf[STOP_COMMAND]:-} ]] && echo success || echo never)}
    check_value "$1" STOP '^(success|always|never)$' "success, always or never"
    [[ ${conf[STOP]} == never || -n ${conf[STOP_COMMAND]:-} ]] || fail 2 "$1: STOP=${conf[STOP]} needs a STOP_COMMAND"
}

check_value() { # FILE KEY PATTERN MEANING
    [[ ${conf[$2]} =~ $3 ]] || fail 2 "$1: $2 is ${conf[$2]}, it must be $4"
}

set_places() {
    project=$(pwd -P)
    [[ -f ${conf[CONFIG]} && ${conf[CONFIG]} != /* ]] || fail 2 "CONFIG=${conf[CONFIG]}: no such file, seen from $project"
    run=runs/${conf[RUN]}
    machine=${conf[USER]}@${conf[HOST]}
    files=${conf[REMOTE_DIR]}/files # everything lies below it at the path that it has here, so that `../shared` is right there, too
    ssh_command=(ssh -p "${conf[PORT]}" -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o StrictHostKeyChecking=accept-new)
    if [[ -n ${conf[KEY]:-} ]]; then ssh_command+=(-i "${conf[KEY]/#\~\//$HOME/}" -o IdentitiesOnly=yes); fi
    local option
    for option in "${SSH_OPTION[@]}"; do ssh_command+=(-o "$option"); done
    overrides=()
    for option in "${SET[@]}"; do overrides+=(--set "$option"); done
}

# --- The connection ------------------------------------------------------------------------------------------------------------------

greet() { # deliver the other half; the first contact, so that a wrong host or key is told at once
    local tool
    for tool in ssh rsync git "${conf[PYTHON]}"; do command -v "$tool" >/dev/null || fail 2 "$tool is not installed on this computer"; done
    "${ssh_command[@]}" "$machine" "mkdir -p $files && cd ${conf[REMOTE_DIR]} && cat >machine.sh.partial && mv machine.sh.partial machine.sh" \
        <deploy/cloud/machine.sh && return
    fail "$STATUS_UNREACHABLE" "$machine port ${conf[PORT]} can't be reached or used: is it on, is its ssh port open to your address, is KEY the right one?"
}

on_machine() { # COMMAND ARGUMENT...: run a part of machine.sh
    local words
    words=$(printf '%q ' env "${REMOTE_ENV[@]}" "RUN=${conf[RUN]}" "PROJECT=$project" "GIVEN_PYTHON=${conf[REMOTE_PYTHON]:-}" \
        bash "${conf[REMOTE_DIR]}/machine.sh" "$@")
    "${ssh_command[@]}" "$machine" "$words"
}

copy() { # rsync's arguments
    local progress=() remote_shell
    if [[ -t 2 ]]; then progress=(--info=progress2); fi
    remote_shell=$(printf '%q ' "${ssh_command[@]}")
    rsync -rtpz --partial --protect-args --timeout=120 "${progress[@]}" --rsh="$remote_shell" "$@"
}

persistently() { # A STEP...: again, with growing pauses, as long as it is the connection that fails
    local pause_s=1 since=$SECONDS began status
    while true; do
        began=$SECONDS status=0
        "$@" || status=$?
        is_connection_lost "$status" || return "$status"
        if ((SECONDS - began > 15)); then since=$SECONDS pause_s=1; fi # it was connected: trying alone gives up after 10 s
        ((SECONDS - since < conf[PATIENCE_S])) || fail "$STATUS_UNREACHABLE" "no connection for ${conf[PATIENCE_S]} s; the same command carries on"
        say "the connection is lost; trying again in $pause_s s (training goes on without it)"
        sleep "$pause_s"
        pause_s=$((pause_s * 2 < LONGEST_PAUSE_S ? pause_s * 2 : LONGEST_PAUSE_S))
    done
}

is_connection_lost() { # STATUS: of ssh, or of rsync: socket, stream, timeout
    [[ $1 == "$STATUS_UNREACHABLE" || $1 == 10 || $1 == 12 || $1 == 30 || $1 == 35 ]]
}

# --- The journey ---------------------------------------------------------------------------------------------------------------------

start() {
    shown=$(mktemp) # what has been shown of the log
    if [[ -e $run ]]; then
        verify "$run/bundle" || fail 2 "$run is here already, without a good bundle: choose another RUN"
        say "the bundle is here already"
    else
        greet
        persistently on_machine check
        train
        fetch
    fi
    is_home=yes
    echo "$run/bundle"
}

train() {
    local state
    state=$(persistently on_machine state)
    case $state in
        running) say "it trains already: following" ;;
        "ended 0") say "it has finished" ;;
        *)
            prepare
            launch
            ;;
    esac
    while true; do
        persistently follow
        state=$(persistently on_machine state)
        [[ $state == rebooted ]] || break
        say "the machine was restarted: resuming from the newest checkpoint"
        launch
    done
    [[ $state == "ended 0" ]] || fail "${state#ended }" "the training ended with status ${state#ended }, its last lines say why; \
mend that, and the same command carries on"
}

prepare() {
    say "uploading the code"
    persistently upload_code
    say "building the environment (some 6 GB the first time)"
    persistently on_machine environment
    say "uploading the data"
    upload_data
}

launch() { persistently on_machine start "${conf[CONFIG]}" "${overrides[@]}"; }

upload_code() { # what git tracks, as it stands here; what git tracked at the last upload and no more is removed
    git ls-files -z | LC_ALL=C sort -z | on_machine receive_code "$(git rev-parse HEAD)" &&
        present_code | copy --from0 --files-from=- "$project/" "$machine:$files$project/"
}

present_code() {
    printf '%s\0' "${conf[CONFIG]}"
    git ls-files -z | while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done
}

upload_data() { # DATA, and what the training config names; the machine reads the config, for here may be no environment
    local kind path named
    named=$(persistently on_machine config_paths "${conf[CONFIG]}" "${overrides[@]}")
    local paths=("${DATA[@]}")
    while IFS=$'\t' read -r kind path; do
        if [[ $kind == path || ($kind == base && -d $path) ]]; then paths+=("$path"); fi
    done <<<"$named"
    for path in "${paths[@]}"; do
        [[ $path != /* ]] || fail 2 "$path: write it relative to $project, for the machine has other folders"
        [[ -e $path ]] || fail 2 "$path: no such file; ${conf[CONFIG]}, SET or DATA names it"
    done
    persistently send "${paths[@]}"
}

send() { # PATH...: to the same places below $files
    local path
    for path in "$@"; do printf '%s\0' "$(realpath -ms "$path")"; done |
        copy --copy-links --no-implied-dirs --from0 --files-from=- / "$machine:$files/"
}

follow() { # show the log, from where the last connection broke off, until the training ends
    on_machine follow "$(wc -c <"$shown")" | tee -a "$shown"
}

fetch() {
    local partial=runs/.partial/${conf[RUN]} # one level too deep to be taken for a run
    mkdir -p "$partial"
    say "downloading the run"
    persistently copy --checksum --exclude={/checkpoints,/best,/onnx} "$machine:$files$project/$run/" "$partial/"
    verify "$partial/bundle" || fail 1 "the bundle on the machine is broken, too: choose another RUN to train it again"
    persistently copy "$machine:${conf[REMOTE_DIR]}/state/${conf[RUN]}/log" "$partial/machine.log"
    mv "$partial" "$run"
}

verify() { # BUNDLE
    "${conf[PYTHON]}" - "$1" >&2 <<'PYTHON'
import sys
from pathlib import Path

from semantic_service.contract.bundle import Bundle, BundleError

try:
    bundle = Bundle.read(Path(sys.argv[1]))
except BundleError as error:
    sys.exit(f"retrain: {error}")
print(f"retrain: every digest of {bundle.manifest.model_version} is right")
PYTHON
}

# --- The end -------------------------------------------------------------------------------------------------------------------------

finish() {
    local status=$?
    rm -f "${shown:-}"
    if [[ $was_interrupted == yes ]]; then
        say "interrupted; a training goes on over there, the machine stays on, and the same command follows it"
    elif [[ ${conf[STOP]} == always || (${conf[STOP]} == success && $is_home == yes) ]]; then
        power_off || status=$((status ? status : 1))
    else
        say "the machine is still on, and costs money (STOP=${conf[STOP]})"
    fi
    exit "$status"
}

power_off() { # the command may hold a secret, so it is not shown
    say "running STOP_COMMAND"
    bash -c "${conf[STOP_COMMAND]}" </dev/null >&2 && say "it ran; see in the provider's console that the machine is off" && return
    say "STOP_COMMAND failed: the machine is still on, and costs money; switch it off by hand"
    return 1
}

# --- Other commands ------------------------------------------------------------------------------------------------------------------

status() { on_machine check && on_machine status; }

log() { on_machine log; }

stop() {
    on_machine interrupt
    say "the training has ended; the same command without stop carries it on; the machine is still on"
}

main "$@"
