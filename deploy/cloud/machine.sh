#!/usr/bin/env bash
# The half of retrain.sh that runs on the rented machine, which uploads and calls it: RUN=... PROJECT=... bash machine.sh COMMAND
#   files/        the project and its data, each below the path that it has at home
#   environment/  the Python environment, stamped with the digest of its lock
#   state/RUN/    lock (held while it trains), pid, boot (the machine's, when it began), log, exit-status
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly HOME_PROJECT=$PWD/files$PROJECT
readonly STATE=$PWD/state/$RUN
readonly PYTHON=${GIVEN_PYTHON:-$PWD/environment/bin/python}
readonly MIN_NEW_GB=20  # the environment with CUDA is some 6 GB, pip's cache half of that; the base and checkpoints need room
readonly MIN_BUILT_GB=5 # for checkpoints and exported models

fail() { # STATUS MESSAGE
    printf 'machine: %s\n' "$2" >&2
    exit "$1"
}

# --- Is the machine fit? -------------------------------------------------------------------------------------------------------------

check() {
    check_tools
    check_disk
    if command -v nvidia-smi >/dev/null; then
        echo "GPU: $(nvidia-smi --query-gpu=name,memory.total,memory.used,driver_version --format=csv,noheader | paste -sd ';')"
    else
        echo "no GPU: CPU ($(nproc) cores); a GPU that you pay for needs its driver: install it, nvidia-smi must answer"
    fi
}

check_tools() {
    local tool missing=() python=${GIVEN_PYTHON:-python3.11}
    for tool in "$python" git rsync flock setsid; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    ((${#missing[@]} == 0)) || fail 2 "${missing[*]} missing; install with: $(install_command)"
    echo "Python: $("$python" --version)"
}

install_command() {
    if command -v apt-get >/dev/null; then
        echo "apt-get update && apt-get install -y python3.11 python3.11-venv git rsync procps util-linux" \
            "(as root; Ubuntu 22.04 and Debian 12 have them)"
    else
        echo "dnf install -y python3.11 git rsync procps-ng util-linux (as root)"
    fi
}

check_disk() {
    local free_gb least_gb=$MIN_NEW_GB
    if is_built; then least_gb=$MIN_BUILT_GB; fi
    free_gb=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1024 / 1024))
    ((free_gb >= least_gb)) ||
        fail 2 "$free_gb GB free in $PWD, but $least_gb GB are needed: grow the disk, or set REMOTE_DIR to a larger one"
    echo "disk: $free_gb GB free"
}

# --- The environment -----------------------------------------------------------------------------------------------------------------

is_built() {
    [[ -n $GIVEN_PYTHON || (-f environment/stamp && "$(lock_digest)" == "$(cat environment/stamp)") ]]
}

lock_digest() { sha256sum "$HOME_PROJECT/requirements/train.txt" 2>/dev/null | cut -d ' ' -f 1; }

environment() { # once for each lock; a second call waits for the first
    exec 8>environment.lock
    flock 8
    is_built || build
    check_cuda
}

build() {
    rm -rf environment
    { python3.11 -m venv environment && environment/bin/python -m pip --disable-pip-version-check install \
        --progress-bar off -r "$HOME_PROJECT/requirements/train.txt"; } >environment.log 2>&1 ||
        fail 2 "the environment can't be built ($PWD/environment.log): $(tail -n 3 environment.log)"
    lock_digest >environment/stamp.partial
    mv environment/stamp.partial environment/stamp
}

check_cuda() { # an old driver would have it train on the CPU, at the GPU's price
    command -v nvidia-smi >/dev/null || return 0
    "$PYTHON" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else f"machine: torch {torch.__version__} is made for \
CUDA {torch.version.cuda} and can not use the GPU: install a newer driver, or take an image that has one")' || exit 2
}

# --- Code and data -------------------------------------------------------------------------------------------------------------------

receive_code() { # REVISION, NUL-separated sorted paths on standard input: remove what an earlier upload brought and git tracks no more
    refuse_another_run
    mkdir -p "$HOME_PROJECT/.git/objects" "$HOME_PROJECT/.git/refs"
    cat >code.partial
    if [[ -f code ]]; then LC_ALL=C comm -z -23 code code.partial | (cd "$HOME_PROJECT" && xargs -0 -r rm -f --); fi
    echo "$1" >"$HOME_PROJECT/.git/HEAD" # all that `git rev-parse HEAD` needs, so that the bundle names its revision
    mv code.partial code
}

refuse_another_run() { # its code would change while it runs, and the two would share the GPU
    local lock
    for lock in state/*/lock; do
        [[ ! -f $lock ]] || flock -n "$lock" true || fail 2 "${lock%/lock} trains here: wait for it, or have retrain.sh stop it"
    done
}

config_paths() { # CONFIG OVERRIDE...: the paths that it names, one a line
    cd "$HOME_PROJECT"
    PYTHONPATH=. "$PYTHON" deploy/cloud/config_paths.py "$@"
}

# --- The training --------------------------------------------------------------------------------------------------------------------

start() { # CONFIG OVERRIDE...: train in a session of its own, which no connection takes along; nothing if it trains already
    mkdir -p "$STATE"
    exec 9>>"$STATE/lock"
    flock -w 2 9 || return 0 # `is_running` has it for a moment
    rm -f "$STATE/exit-status"
    cp /proc/sys/kernel/random/boot_id "$STATE/boot"
    setsid bash machine.sh train "$@" </dev/null >>"$STATE/log" 2>&1 & # holds the lock through descriptor 9
    echo $! >"$STATE/pid"
}

train() {
    local status=0
    cd "$HOME_PROJECT"
    "$PYTHON" -m training run "$@" --run-dir "runs/$RUN" || status=$?
    echo "$status" >"$STATE/exit-status.partial"
    mv "$STATE/exit-status.partial" "$STATE/exit-status"
}

state() { # none | running | rebooted | ended STATUS
    if is_running; then
        echo running
    elif [[ ! -f $STATE/boot ]]; then
        echo none
    elif [[ -f $STATE/exit-status ]]; then
        echo "ended $(cat "$STATE/exit-status")"
    elif cmp -s "$STATE/boot" /proc/sys/kernel/random/boot_id; then
        echo "ended 137" # killed before its shell could write that down
    else
        echo rebooted
    fi
}

is_running() { [[ -f $STATE/lock ]] && ! flock -n "$STATE/lock" true; }

follow() { # BYTES: the log after the first BYTES, until the training ends
    tail -c "+$(($1 + 1))" -s 0.3 -f --pid="$(cat "$STATE/pid")" "$STATE/log"
}

log() { cat "$STATE/log" 2>/dev/null || fail 2 "nothing has been said: $RUN was not started here"; }

interrupt() { # Python saves a checkpoint and ends; its shell writes down the status
    is_running || fail 2 "$RUN does not train"
    pkill -TERM -P "$(cat "$STATE/pid")"
    flock "$STATE/lock" true
}

status() {
    echo "$RUN: $(state)"
    tail -n 3 "$STATE/log" 2>/dev/null || true
}

"$@"
