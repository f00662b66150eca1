#!/usr/bin/env bash
# Train on a rented machine and bring the bundle home; `retrain.sh --help` says how. machine.sh is its half over there.
set -euo pipefail
((BASH_VERSINFO[0] >= 5)) || { echo "retrain: needs bash 5 (Linux, or WSL on Windows)" >&2 && exit 2; }
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/conf.sh"

readonly STATUS_UNREACHABLE=255 # ssh's own
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
  deploy/cloud/retrain.sh a10.conf                  # prints the bundle's path: runs/RUN/bundle

exit status: 0 done; 1 the bundle is not what was trained, or the machine could not be switched off; 2 wrong use or an unfit machine;
130 interrupted; 255 no connection; else that of the training. docs/rented-gpu.md goes from renting the machine to switching it off.
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
    trap 'was_interrupted=yes; exit 130' HUP INT TERM # the terminal was closed, Ctrl-C, kill
    case ${2:-start} in
        start)
            shown=$(mktemp) # what has been shown of the log
            trap finish EXIT
            ;;
        status | log | stop) greet ;;
        *) fail 2 "unknown command $2: it is one of start, status, log, stop" ;;
    esac
    "${2:-start}"
}

set_places() { # from the conf
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
    "${ssh_command[@]}" "$machine" "mkdir -p $files && cd ${conf[REMOTE_DIR]} &&
        cat >machine.sh.partial && mv machine.sh.partial machine.sh" <deploy/cloud/machine.sh ||
        fail "$STATUS_UNREACHABLE" "$machine port ${conf[PORT]} can't be reached or used: is it on, is its ssh port open to your address, \
is KEY the right one?"
}

on_machine() { # COMMAND ARGUMENT...: run a part of machine.sh
    local words
    words=$(printf '%q ' env "${REMOTE_ENV[@]}" "RUN=${conf[RUN]}" "PROJECT=$project" "GIVEN_PYTHON=${conf[REMOTE_PYTHON]:-}" \
        bash "${conf[REMOTE_DIR]}/machine.sh" "$@")
    "${ssh_command[@]}" "$machine" "$words"
}

copy() { # rsync's arguments
    local progress=()
    if [[ -t 2 ]]; then progress=(--info=progress2); fi
    rsync -rtpz --partial --protect-args --timeout=120 "${progress[@]}" --rsh="${ssh_command[*]@Q}" "$@"
}

persistently() { # A STEP...: again, with growing pauses, as long as it is the connection that fails
    local pause_s=1 since=$SECONDS began status
    if ((BASH_SUBSHELL)); then trap 'exit 130' HUP INT TERM; fi # it has forgotten main's, and would take the end of ssh for a lost connection
    while true; do
        began=$SECONDS status=0
        "$@" || status=$?
        is_connection_lost "$status" || return "$status"
        if ((SECONDS - began > 15)); then since=$SECONDS pause_s=1; fi # it was connected: trying alone gives up after 10 s
        ((SECONDS - since < conf[PATIENCE_S])) ||
            fail "$STATUS_UNREACHABLE" "no connection for ${conf[PATIENCE_S]} s; the same command carries on"
        say "the connection is lost; trying again in $pause_s s (training goes on without it)"
        sleep "$pause_s"
        pause_s=$((pause_s < 30 ? pause_s * 2 : 60))
    done
}

is_connection_lost() { # STATUS: of ssh, or of rsync: socket, stream, timeout
    [[ $1 == "$STATUS_UNREACHABLE" || $1 == 10 || $1 == 12 || $1 == 30 || $1 == 35 ]]
}

# --- The journey ---------------------------------------------------------------------------------------------------------------------

start() {
    if [[ -e $run ]]; then
        verify "$run/bundle" || fail 2 "$run is here, but without a good bundle: choose another RUN"
    else
        greet
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
            state=running
            ;;
    esac
    until [[ $state == ended* ]]; do
        persistently follow
        state=$(persistently on_machine state)
        if [[ $state == rebooted ]]; then say "the machine was restarted: resuming from the newest checkpoint" && launch; fi
    done
    [[ $state == "ended 0" ]] || fail "${state#ended }" "the training ended with status ${state#ended }, its last lines say why; \
mend that, and the same command carries on"
}

prepare() {
    persistently on_machine check >&2
    say "uploading the code"
    persistently upload_code
    say "building the environment (some 6 GB the first time)"
    persistently on_machine environment
    say "uploading the data"
    upload_data
    launch
}

launch() { persistently on_machine start "${conf[CONFIG]}" "${overrides[@]}"; }

upload_code() { # and remove what an earlier upload brought and is here no more
    code_files | on_machine receive_code "$(git rev-parse HEAD)" &&
        code_files | copy --from0 --files-from=- "$project/" "$machine:$files$project/"
}

code_files() { # what git tracks, as it stands here, and the training config
    { git ls-files -z && printf '%s\0' "${conf[CONFIG]}"; } | while IFS= read -r -d '' file; do
        [[ ! -e $file ]] || printf '%s\0' "$file"
    done | LC_ALL=C sort -zu
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
    on_machine follow "$(wc -c <"$shown")" | tee -a "$shown" >&2
}

fetch() {
    local partial=runs/.partial/${conf[RUN]} # one level too deep to be taken for a run
    mkdir -p "$partial"
    say "downloading the run"
    persistently copy --checksum --exclude={/checkpoints,/best,/onnx} "$machine:$files$project/$run/" "$partial/"
    verify "$partial/bundle" || fail 1 "the bundle on the machine is broken, too: choose another RUN to train it again"
    persistently copy "$machine:${conf[REMOTE_DIR]}/state/${conf[RUN]}/log" "$partial/machine.log"
    mv -T "$partial" "$run"
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
    rm -f "$shown"
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
