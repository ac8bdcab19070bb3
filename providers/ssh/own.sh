# What runs on an own machine: POSIX sh, fed to `sh -s` by providers/ssh/script.py, which writes the variables in
# capitals above it and `own_main` below it. Nothing happens before that last line has arrived, so a connection
# that breaks while this is sent has no effect. The layout of files is described in docs/providers/ssh.md.
#
# Answers are lines between `orch-own/1 begin NONCE` and `orch-own/1 end NONCE STATUS`, so that what a login shell
# prints of its own cannot be mistaken for one. Statuses are listed in providers/ssh/errors.py.

finish() { # STATUS [WHY]
    [ $# -lt 2 ] || printf 'why %s\n' "$2"
    printf 'orch-own/1 end %s %s\n' "$NONCE" "$1"
    exit 0
}

have() { command -v "$1" >/dev/null 2>&1; }

# A driver that hangs must not hang us, and nothing may read our stdin: the script itself comes from there.
smi() { if have timeout; then timeout "${SMI_S:-20}" nvidia-smi "$@"; else nvidia-smi "$@"; fi </dev/null 2>/dev/null; }
gpu_rows() { smi --query-gpu=uuid,memory.total,name --format=csv,noheader,nounits; }
app_rows() { smi --query-compute-apps=gpu_uuid,pid --format=csv,noheader,nounits; }

pause() { sleep 0.2 2>/dev/null || sleep 1; }

# -- the machine-wide place ---------------------------------------------------------------------------------

place_state() {
    if [ ! -d "$ROOT" ]; then echo missing
    elif [ -d "$ROOT/alloc" ]; then if [ -w "$ROOT/alloc" ]; then echo ok; else echo readonly; fi
    elif [ ! -w "$ROOT" ]; then echo readonly
    else echo ok; fi
}

make_place() {
    have flock && have setsid && [ -d /proc/self ] || finish 18 "the machine lacks flock, setsid or /proc: install util-linux"
    [ -d "$ROOT" ] || mkdir -p -m 1777 "$ROOT" 2>/dev/null
    for part in alloc ended work; do
        [ -d "$ROOT/$part" ] || mkdir -m 1777 "$ROOT/$part" 2>/dev/null
    done
    [ -e "$ROOT/lock" ] || (umask 0 && set -C && : >"$ROOT/lock") 2>/dev/null
    [ -w "$ROOT/alloc" ] && [ -w "$ROOT/ended" ] && [ -r "$ROOT/lock" ] ||
        finish 12 "$ROOT is not there or not writable for $LOGIN: sudo install -d -m 1777 $ROOT"
}

take_lock() { # SECONDS
    # Opened for reading: in a sticky folder, opening somebody else's file with O_CREAT may be forbidden.
    exec 9<"$ROOT/lock"
    flock -w "$1" 9 || finish 11 "somebody else is at work on this machine's allocations"
}

check_id() {
    found=$(cat "$ROOT/id" 2>/dev/null)
    [ -z "$MACHINE_ID" ] || [ "$found" = "$MACHINE_ID" ] || finish 15 "the machine's id is ${found:-gone}, and was $MACHINE_ID"
}

make_id() {
    [ -s "$ROOT/id" ] && return
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | put "$ROOT" id
}

# Whole or not at all, also after a power cut. In a sticky folder somebody may have laid a link where we write: `set -C`
# opens no file that is there already.
put() { # FOLDER NAME: from stdin
    (
        umask 022
        draft=$1/.$2.$$
        rm -f "$draft" && set -C && cat >"$draft" && { sync "$draft" || :; } && mv "$draft" "$1/$2" && exit 0
        rm -f "$draft"
        exit 1
    )
}

# -- records ------------------------------------------------------------------------------------------------

tokens() { # names of all allocations; whatever else lies there is none of ours
    for file in "$ROOT"/alloc/orch-*; do
        name=${file##*/}
        case $name in *[!a-z0-9-]*) continue ;; esac
        [ -f "$file" ] && echo "$name"
    done
}

read_record() { # TOKEN: sets R_...; false if there is none. Never sourced: other users wrote it.
    R_OWNER='' R_LEASE='' R_LOGIN='' R_UID='' R_GPUS='' R_CREATED='' R_ENDS=- R_PHASE='' R_DIR='' R_KEYS='' R_ALL=''
    [ -r "$ROOT/alloc/$1" ] || return 1
    while IFS='=' read -r key value; do
        case $key in
            owner) R_OWNER=$value ;; lease) R_LEASE=$value ;; login) R_LOGIN=$value ;; uid) R_UID=$value ;;
            gpus) R_GPUS=$value ;; created) R_CREATED=$value ;; ends) R_ENDS=$value ;; phase) R_PHASE=$value ;;
            dir) R_DIR=$value ;; keys) R_KEYS=$value ;; dedicated) R_ALL=$value ;;
        esac
    done <"$ROOT/alloc/$1"
}

write_record() { # TOKEN: from R_...
    printf '%s\n' "token=$1" "owner=$R_OWNER" "lease=$R_LEASE" "login=$R_LOGIN" "uid=$R_UID" "gpus=$R_GPUS" \
        "created=$R_CREATED" "ends=$R_ENDS" "phase=$R_PHASE" "dir=$R_DIR" "keys=$R_KEYS" "dedicated=$R_ALL" |
        put "$ROOT/alloc" "$1"
}

bury() { # TOKEN: an end is remembered, so that a launch that comes late, or twice, makes nothing
    printf '%s\n' "token=$1" "owner=$OWNER" "ended=${NOW:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}" "gpus=$R_GPUS" |
        put "$ROOT/ended" "$1"
}

# -- looking ------------------------------------------------------------------------------------------------

look() {
    id=$(cat "$ROOT/id" 2>/dev/null)
    echo "id ${id:--}"
    echo "uid $(id -u)"
    echo "clock $(date +%s)"
    echo "place $(place_state)"
    for tool in flock setsid nvidia-smi; do have $tool || echo "lacks $tool"; done
    # A driver that hangs must not hide what is allocated.
    case $VERB in find | owned) ;; *) ! have nvidia-smi || look_at_gpus ;; esac
    for token in $(tokens); do
        if read_record "$token"; then
            gpus=$(echo $R_GPUS | tr ' ' ',')
            echo "alloc $token ${R_OWNER:--} ${R_PHASE:--} ${R_LOGIN:--} ${R_CREATED:--} ${R_ENDS:--} ${gpus:--}"
        elif [ -e "$ROOT/alloc/$token" ]; then
            finish 12 "$ROOT/alloc/$token cannot be read"
        fi
    done
    if [ -n "$TOKEN" ] && [ -r "$ROOT/ended/$TOKEN" ] && grep -qx "owner=$OWNER" "$ROOT/ended/$TOKEN"; then
        echo "ended $TOKEN"
    fi
    finish 0
}

look_at_gpus() {
    gpu_rows | sed -n 's/^\(GPU-[^,]*\), *\([^,]*\), *\(.*\)$/gpu \1 \2 \3/p'
    app_rows | sed -n 's/^\([GM][PI][UG]-[^,]*\), *\([0-9]*\).*$/app \1 \2/p'
}

# -- taking -------------------------------------------------------------------------------------------------

choose() { # sets CHOSEN
    rows=$(gpu_rows) && apps=$(app_rows) || finish 13 "nvidia-smi does not work on the machine"
    taken=' '
    for token in $(tokens); do
        # A record that cannot be read may hold any GPU.
        [ -r "$ROOT/alloc/$token" ] || finish 12 "$ROOT/alloc/$token cannot be read"
        taken="$taken$(sed -n 's/^gpus=//p' "$ROOT/alloc/$token") "
    done
    CHOSEN='' there=0 free=0
    for gpu in $ELIGIBLE; do
        case $rows in *"$gpu"*) there=$((there + 1)) ;; *) continue ;; esac
        case $taken in *" $gpu "*) continue ;; esac
        case $apps in *"$gpu"*) continue ;; esac
        free=$((free + 1))
        [ $free -gt "$COUNT" ] || CHOSEN="${CHOSEN:+$CHOSEN }$gpu"
    done
    [ $there -ge "$COUNT" ] || finish 14 "$there of the GPUs that were seen before are still there, and $COUNT are wanted"
    [ $free -ge "$COUNT" ] || finish 10 "$free of $there GPUs are free, and $COUNT are wanted"
}

login_is_free() {
    for token in $(tokens); do
        grep -qx "login=$LOGIN" "$ROOT/alloc/$token" && return 1
    done
    return 0
}

expire() { # ends what is over: a reboot took its timer away
    now=$(date +%s)
    for token in $(tokens); do
        read_record "$token" || continue
        case $R_ENDS in '' | *[!0-9]*) continue ;; esac
        [ $((R_ENDS + 120)) -lt "$now" ] || continue
        [ "$R_UID" = "$(id -u)" ] || [ "$(id -u)" = 0 ] || continue
        (OWNER=$R_OWNER && NOW='' && clean "$token")
    done
    find "$ROOT/ended" -type f -mtime +30 -exec rm -f {} + 2>/dev/null
}

launch() {
    make_place
    take_lock 15
    check_id
    make_id
    [ ! -e "$ROOT/ended/$TOKEN" ] || finish 16 "$TOKEN has ended here already"
    if read_record "$TOKEN"; then
        [ "$R_OWNER" = "$OWNER" ] || finish 19 "$TOKEN belongs to another installation"
        [ "$R_LOGIN" = "$LOGIN" ] || report
        [ "$R_PHASE" != ending ] || finish 16 "$TOKEN is being ended"
    else
        expire
        login_is_free || finish 22 "the login $LOGIN holds another allocation"
        choose
        R_OWNER=$OWNER R_LEASE=$LEASE R_LOGIN=$LOGIN R_UID=$(id -u) R_GPUS=$CHOSEN R_CREATED=$NOW R_ENDS=-
        R_PHASE=making R_DIR=$WORK/$TOKEN R_KEYS=$KEYS R_ALL=$DEDICATED
        [ -z "$TTL_S" ] || R_ENDS=$(($(date +%s) + TTL_S))
        key_is_new || finish 23 "the lease's key opens $LOGIN already: give the inventory's key_file another key"
        write_record "$TOKEN" || finish 17 "the record could not be written to $ROOT/alloc"
    fi
    if ! settle_in; then
        clean "$TOKEN" >/dev/null || finish 24 "the allocation could not be set up, nor undone"
        rm -f "$ROOT/ended/$TOKEN"
        finish 17 "the allocation could not be set up in $WORK: is the disk full, or $KEYS not writable?"
    fi
    start_timer
    start_command
    report
}

report() {
    echo "id $(cat "$ROOT/id")"
    echo "made $R_LOGIN $(echo $R_GPUS | tr ' ' ',')"
    finish 0
}

# -- the tenant's folder, key, timer and command ------------------------------------------------------------

settle_in() {
    umask 077
    mkdir -p "$R_DIR/home" "$R_DIR/tmp" || return 1
    printf '%s\n' "$OWN_LIBRARY" >"$R_DIR/own.sh" || return 1
    printf '%s' "$EXPORTS" >"$R_DIR/env" || return 1
    tools=$(command -v nvidia-smi) && tools=${tools%/*}
    # /etc/profile sets PATH anew in login shells.
    printf 'case ":$PATH:" in *":%s:"*) ;; *) PATH="%s:$PATH" ;; esac\n' "$tools" "$tools" >"$R_DIR/home/.profile"
    {
        printf '%s\n' '#!/bin/sh' "here='$R_DIR' ends='$R_ENDS'" "ORCH_OWN_TOKEN='$TOKEN'" \
            "CUDA_VISIBLE_DEVICES='$(echo $R_GPUS | tr ' ' ',')'" 'NVIDIA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES'
        cat <<'ENTER'
case $ends in -) ;; *) [ "$(date +%s)" -lt "$ends" ] || { echo "this lease is over" >&2; exit 254; } ;; esac
CUDA_DEVICE_ORDER=PCI_BUS_ID HOME=$here/home TMPDIR=$here/tmp
. "$here/env"
export ORCH_OWN_TOKEN CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES CUDA_DEVICE_ORDER HOME TMPDIR
cd "$HOME" || exit 254
[ -n "${SSH_ORIGINAL_COMMAND-}" ] || exec "${SHELL:-/bin/sh}" -l
words=$SSH_ORIGINAL_COMMAND
unset SSH_ORIGINAL_COMMAND
case $words in
    internal-sftp*)
        for server in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec; do
            [ ! -x "$server/sftp-server" ] || exec "$server/sftp-server"
        done
        ;;
esac
exec "${SHELL:-/bin/sh}" -c "$words"
ENTER
    } >"$R_DIR/enter" && chmod 700 "$R_DIR/enter" || return 1
    R_PHASE=ready
    add_key && write_record "$TOKEN"
}

key_file() { # the file itself, where it is a link
    readlink -f "$R_KEYS" 2>/dev/null || echo "$R_KEYS"
}

blob_of() { echo "$1" | cut -d ' ' -f 2; }

# sshd takes the first line that fits, so a key that opens the login otherwise would never reach our wrapper.
key_is_new() {
    file=$(key_file)
    [ -f "$file" ] || return 0
    for token in $(sed -n 's/^.* orch-own:\(orch-[a-z0-9-]*\)$/\1/p' "$file"); do
        [ -e "$ROOT/alloc/$token" ] || drop_key "$token" || return 1
    done
    ! grep -qF -- "$(blob_of "$PUBLIC_KEY")" "$file"
}

add_key() {
    file=$(key_file)
    mkdir -p "${file%/*}" && touch "$file" || return 1
    grep -q -- " orch-own:$TOKEN\$" "$file" && return 0
    [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo >>"$file" || return 1
    printf '%s\n' "command=\"$R_DIR/enter\",$KEY_OPTIONS $PUBLIC_KEY orch-own:$TOKEN" >>"$file"
}

drop_key() { # TOKEN
    file=$(key_file)
    [ -f "$file" ] && grep -q -- " orch-own:$1\$" "$file" || return 0
    if cp -p "$file" "$file.orch.$$" && without_key "$1" "$file" >"$file.orch.$$" && mv "$file.orch.$$" "$file"; then
        return 0
    fi
    rm -f "$file.orch.$$"
    return 1
}

without_key() { # TOKEN FILE: an empty rest is no failure
    grep -v -- " orch-own:$1\$" "$2" || [ $? = 1 ]
}

start_timer() {
    case $R_ENDS in -) return ;; esac
    [ -z "$(timers "$TOKEN")" ] || return
    ORCH_OWN_TIMER=$TOKEN setsid sh "$R_DIR/own.sh" timer "$TOKEN" "$ROOT" "$R_ENDS" "$OWNER" \
        </dev/null >/dev/null 2>&1 9<&- &
}

start_command() {
    [ -n "$COMMAND" ] && [ ! -e "$R_DIR/started" ] || return
    : >"$R_DIR/started"
    SSH_ORIGINAL_COMMAND=$COMMAND setsid "$R_DIR/enter" </dev/null >"$R_DIR/home/orch-cmd.log" 2>&1 9<&- &
}

timers() { grep -lsF "ORCH_OWN_TIMER=$1" /proc/[0-9]*/environ | cut -d / -f 3; }

# -- cleaning -----------------------------------------------------------------------------------------------

uid_of() { sed -n 's/^Uid:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$1/status" 2>/dev/null; }
parent_of() { sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null; }

lineage() { # PID and what it descends from
    one=$1
    while [ "${one:-0}" -gt 1 ]; do
        echo "$one"
        one=$(parent_of "$one")
    done
}

# Everything of the allocation that runs: by the mark that sessions inherit, by working folder or program, by the GPUs
# (of this uid: they were ours alone), and where the login serves nothing else by uid. Of ssh connections, the
# server's process above a session.
tenants() { # TOKEN
    {
        grep -lsF "ORCH_OWN_TOKEN=$1" /proc/[0-9]*/environ
        # Links there name real paths, and the record's folder may be reached by a link.
        real=$(readlink -f "$R_DIR") || real=$R_DIR
        ls -ld /proc/[0-9]*/cwd /proc/[0-9]*/exe 2>/dev/null | sed -n "s|^[^/]*\(/proc/[0-9]*\)/[a-z]* -> $real.*|\1|p"
        [ "$R_ALL" != yes ] || [ "$R_UID" = 0 ] || grep -ls "^Uid:[[:space:]]*$R_UID[[:space:]]" /proc/[0-9]*/status
        [ "$wedged" = yes ] || for gpu in $R_GPUS; do
            for pid in $(echo "$apps" | sed -n "s/^$gpu, *\([0-9]*\).*/\1/p"); do
                [ "$(uid_of "$pid")" != "$R_UID" ] || echo "/proc/$pid"
            done
        done
    } | cut -d / -f 3 | sort -u | while read -r pid; do
        grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$pid/status" || continue
        case $own in *" $pid "*) continue ;; esac
        [ "$pid" -gt 1 ] || continue
        ! lineage "$pid" | grep -qx "$$" || continue  # of this script, such as this very loop
        echo "$pid"
        above=$(parent_of "$pid")
        case $(cat "/proc/${above:-0}/comm" 2>/dev/null) in
            sshd | sshd-session) [ "$(uid_of "$above")" != "$R_UID" ] || echo "$above" ;;
        esac
    done
}

end_processes() { # TOKEN: false if some are left
    own=" $(lineage $$ | tr '\n' ' ')" quiet=0 round=0 wedged=no SMI_S=10
    while [ $round -lt 30 ]; do
        # A driver that hangs is asked once: it could cost all the time that there is.
        [ "$wedged" = yes ] || apps=$(app_rows) || wedged=yes
        pids=$(tenants "$1")
        if [ -z "$pids" ]; then
            quiet=$((quiet + 1))
            [ $quiet -lt 2 ] || return 0  # twice: one may have been forking while we looked
        else
            quiet=0
            signal=KILL
            [ $round -gt 0 ] || signal=TERM
            [ $round = 0 ] || [ $round -gt 5 ] || signal=0  # a second to go by itself
            kill -s $signal $pids 2>/dev/null
        fi
        round=$((round + 1))
        pause
    done
    LEFT=$pids
    return 1
}

mounts_in() { # the places below FOLDER where something is mounted, the innermost first
    sed -n "s|^[^ ]* [^ ]* [^ ]* [^ ]* \($1/[^ ]*\) .*|\1|p" /proc/self/mountinfo | sort -r
}

unmount() { # what a tenant has mounted: `rm -r` would go into it. False if something is left
    real=$(readlink -f "$R_DIR") || return 0
    mounts_in "$real" | while read -r place; do
        place=$(printf '%b' "$(printf '%s' "$place" | sed 's/\\\([0-7]\)/\\0\1/g')")  # a space is \040 there
        umount "$place" || umount -l "$place" || fusermount -uz "$place" || fusermount3 -uz "$place"
    done >/dev/null 2>&1
    [ -z "$(mounts_in "$real")" ]
}

clean() { # TOKEN, its record read: ends it whole, or says what is in the way and returns false
    case $R_DIR in */"$1") ;; *) echo "left the record names no folder of its own: $R_DIR"; return 1 ;; esac
    R_PHASE=ending
    write_record "$1"
    # No way in any more, then nobody inside, then nothing left; the lock on the GPUs comes last.
    # Where the disk is full, the line goes once the folder is gone; without its wrapper it opens nothing meanwhile.
    locked_out=yes
    drop_key "$1" || locked_out=no
    rm -f "$R_DIR/enter"
    end_processes "$1" || { echo "left processes" $LEFT; return 1; }
    [ -n "${TIMING-}" ] || for pid in $(timers "$1"); do kill -s KILL "$pid" 2>/dev/null; done
    unmount || { echo "left what is mounted in $R_DIR"; return 1; }
    rm -rf "$R_DIR" 2>/dev/null || { chmod -R u+rwx "$R_DIR" && rm -rf "$R_DIR"; } 2>/dev/null
    [ ! -e "$R_DIR" ] || { echo "left files in $R_DIR"; return 1; }
    [ $locked_out = yes ] || drop_key "$1" || { echo "left the key in $R_KEYS"; return 1; }
    bury "$1" && rm -f "$ROOT/alloc/$1" && [ ! -e "$ROOT/alloc/$1" ] || { echo "left the record"; return 1; }
}

terminate() {
    R_GPUS=''
    check_id
    if [ -d "$ROOT/alloc" ]; then
        make_place
        take_lock 2
        if read_record "$TOKEN"; then
            [ "$R_OWNER" = "$OWNER" ] || finish 19 "$TOKEN belongs to another installation"
            [ "$R_UID" = "$(id -u)" ] || [ "$(id -u)" = 0 ] || finish 21 "it was allocated as $R_LOGIN, and only that user can end it"
            clean "$TOKEN" || finish 20 "not everything could be ended yet"
        elif [ ! -e "$ROOT/ended/$TOKEN" ]; then
            # Not remembered, it could still be made: by a launch that is on its way.
            bury "$TOKEN" || finish 20 "the end could not be written to $ROOT/ended"
        fi
    fi
    echo "gone $TOKEN"
    finish 0
}

# The dead-man timer: the same text, kept with the allocation, which outlives the connection.
timer() { # TOKEN ROOT ENDS OWNER
    TOKEN=$1 ROOT=$2 OWNER=$4 NONCE=- MACHINE_ID='' NOW='' TIMING=yes
    while [ "$(date +%s)" -lt "$3" ]; do
        rest=$(($3 - $(date +%s)))
        [ $rest -le 60 ] || rest=60
        sleep "$rest"
        [ -e "$ROOT/alloc/$TOKEN" ] || exit 0
    done
    pause=2
    while [ -e "$ROOT/alloc/$TOKEN" ]; do
        # Only ever the allocation of this token: whoever comes later has another one.
        (take_lock 600 && read_record "$TOKEN" && [ "$R_OWNER" = "$OWNER" ] && clean "$TOKEN")
        [ ! -e "$ROOT/alloc/$TOKEN" ] || sleep "$pause"
        [ "$pause" -ge 30 ] || pause=$((pause * 2))
    done
    exit 0
}

own_main() {
    PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/lib/wsl/lib
    # A login shell may have said something without ending the line.
    printf '\norch-own/1 begin %s\n' "$NONCE"
    case $ROOT in "~/"*) ROOT=$HOME/${ROOT#"~/"} ;; esac
    case $KEYS in "~/"*) KEYS=$HOME/${KEYS#"~/"} ;; esac
    case $WORK in "~/"*) WORK=$HOME/${WORK#"~/"} ;; '') WORK=$ROOT/work ;; esac
    case $VERB in launch) launch ;; terminate) terminate ;; *) look ;; esac
}

[ "${1-}" != timer ] || { shift; timer "$@"; }
