# shellcheck shell=bash
# Reads a conf file, for retrain.sh: into `conf`, and into an array for each key that may stand several times.

readonly REQUIRED="HOST RUN CONFIG"
readonly ONCE="HOST PORT USER KEY REMOTE_DIR REMOTE_PYTHON PYTHON RUN CONFIG STOP STOP_COMMAND PATIENCE_S"
readonly REPEATED="SSH_OPTION REMOTE_ENV SET DATA"
declare -A conf=([PORT]=22 [USER]=root [REMOTE_DIR]=moderation-retrain [PYTHON]=python3.11 [PATIENCE_S]=3600)
declare -A given=()
declare -a SSH_OPTION=() REMOTE_ENV=() SET=() DATA=()

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
    local key pair
    for key in $REQUIRED; do [[ -n ${conf[$key]:-} ]] || fail 2 "$1: $key is missing"; done
    check_value "$1" PORT '^[0-9]+$' "a number"
    check_value "$1" PATIENCE_S '^[0-9]+$' "a number of seconds"
    check_value "$1" RUN '^[A-Za-z0-9][A-Za-z0-9._-]*$' "letters, digits and . _ - only"
    check_value "$1" REMOTE_DIR '^[A-Za-z0-9._/-]+$' "letters, digits and . _ - / only; without a leading / it is below the user's home"
    for pair in "${REMOTE_ENV[@]}"; do
        [[ $pair =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || fail 2 "$1: REMOTE_ENV is $pair, it must be NAME=value"
    done
    conf[STOP]=${conf[STOP]:-$([[ -n ${conf[STOP_COMMAND]:-} ]] && echo success || echo never)}
    check_value "$1" STOP '^(success|always|never)$' "success, always or never"
    [[ ${conf[STOP]} == never || -n ${conf[STOP_COMMAND]:-} ]] || fail 2 "$1: STOP=${conf[STOP]} needs a STOP_COMMAND"
}

check_value() { # FILE KEY PATTERN MEANING
    [[ ${conf[$2]} =~ $3 ]] || fail 2 "$1: $2 is ${conf[$2]}, it must be $4"
}
