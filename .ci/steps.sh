# Steps, with the seconds that each takes; source this file. A step that is a function of several
# commands joins them with &&: it is not ended by one that fails.

TOOK=()
FAILED=()

# Run a step; how long it took is told when it ends, and at the end of all.
step() {
    local began=$SECONDS status=0
    printf '\n== %s\n' "$*"
    "$@" || status=$?
    TOOK+=("$(printf '%5d s  %s' "$((SECONDS - began))" "$*")")
    printf -- '-- %d s, %d s in all\n' "$((SECONDS - began))" "$SECONDS"
    return "$status"
}

# The same, but the next one is run even if this one fails.
try() {
    step "$@" || FAILED+=("$*")
}

summary() {
    printf '\n== summary\n'
    printf '%s\n' "${TOOK[@]}"
    printf '%5d s  in all\n' "$SECONDS"
    [ "${#FAILED[@]}" -eq 0 ] || printf 'FAILED: %s\n' "${FAILED[@]}"
}

# A real Linux: what it said and which calls it made are kept if something is not as it must be. It has
# PATIENCE seconds: as long as a host takes that has much else to do.
PATIENCE=600
with_linux() {
    local demo=$1 console=$2 status=0
    shift 2
    timeout $((2 * PATIENCE)) make "$demo" ARGS="--timeout $PATIENCE --trace $demo.trace.jsonl $*" || status=$?
    if [ "$status" -ne 0 ] && [ -f "$console" ]; then
        echo "-- the last of $console; the calls are in $demo.trace.jsonl"
        tail -n 60 "$console"
    fi
    return "$status"
}
