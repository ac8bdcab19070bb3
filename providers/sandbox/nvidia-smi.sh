# Stands below four lines that `nvidia.py` writes: NAME, MEMORY (MiB a GPU), UUIDS (one a GPU) and ECC (0, or N/A
# where the model does not report it). Answers as NVIDIA's tool does on an idle machine; where there is a file
# `nvidia-smi.processes` beside it, its lines (UUID PID NAME MIB) are what computes.
DRIVER=580.95.05
CUDA=13.0

usage() {
    echo "nvidia-smi of the orch sandbox. Usage:"
    echo "  nvidia-smi [-L] [-i INDEX|UUID]"
    echo "  nvidia-smi --query-gpu=FIELD,... --format=csv[,noheader][,nounits] [-i INDEX|UUID]"
    echo "  nvidia-smi --query-compute-apps=FIELD,... --format=csv[,noheader][,nounits]"
}

refuse() {
    echo "$1"
    exit "$2"
}

bus_of() { printf '00000000:%02X:00.0' $(($1 + 1)); }

# field NAME INDEX UUID: sets value, unit and title.
field() {
    unit='' title=$1
    case $1 in
        name | gpu_name) value=$NAME title=name ;;
        uuid | gpu_uuid) value=$3 title=uuid ;;
        index) value=$2 ;;
        count) value=$COUNT ;;
        driver_version) value=$DRIVER ;;
        pci.bus_id | gpu_bus_id) value=$(bus_of "$2") title=pci.bus_id ;;
        memory.total) value=$MEMORY unit=MiB ;;
        memory.free) value=$MEMORY unit=MiB ;;
        memory.used) value=0 unit=MiB ;;
        utilization.gpu | utilization.memory) value=0 unit=% ;;
        temperature.gpu) value=31 ;;
        power.draw) value=35.12 unit=W ;;
        pstate) value=P8 ;;
        timestamp) value=$(date '+%Y/%m/%d %H:%M:%S.000') ;;
        ecc.errors.*) value=$ECC ;;
        *) value='[N/A]' ;;
    esac
    [ "$value" = '[N/A]' ] && unit=''
    return 0
}

# row INDEX UUID: one line of the answer to --query-gpu; without arguments, its head line.
row() {
    line=''
    for one in $FIELDS; do
        field "$one" "${1:-0}" "${2:-}"
        if [ $# = 0 ]; then
            value=$title
            [ -n "$unit" ] && value="$value [$unit]"
        elif [ -n "$unit" ] && [ "$UNITS" = yes ]; then
            value="$value $unit"
        fi
        line=${line:+$line, }$value
    done
    printf '%s\n' "$line"
}

# apps: one line for each computing process.
apps() {
    [ "$HEAD" = no ] || printf '%s\n' "$FIELDS" | sed 's/ /, /g'
    [ -r "$0.processes" ] || return 0
    while read -r gpu pid name used; do
        line=''
        for one in $FIELDS; do
            case $one in
                gpu_uuid) value=$gpu ;;
                pid) value=$pid ;;
                process_name | name) value=$name ;;
                used_gpu_memory | used_memory) value="$used$([ "$UNITS" = no ] || echo ' MiB')" ;;
                *) value='[N/A]' ;;
            esac
            line=${line:+$line, }$value
        done
        printf '%s\n' "$line"
    done <"$0.processes"
}

entry() { printf 'GPU %s: %s (UUID: %s)\n' "$1" "$NAME" "$2"; }

box() {
    printf '| %3d  %-30.30s %3s |   %16s Off | %20s |\n' "$1" "$NAME" Off "$(bus_of "$1")" "$ECC"
    printf '|%-41s|%23s |%21s |\n' ' N/A   31C    P8             35W /  N/A' "0MiB / $(printf %6d "$MEMORY")MiB" '0%      Default'
    printf '|%41s|%24s|%20s  |\n' '' '' N/A
    echo '+-----------------------------------------+------------------------+----------------------+'
}

# each COMMAND: runs it with index and UUID of every GPU that -i selects.
each() {
    index=0
    shown=0
    for uuid in $UUIDS; do
        if [ -z "$ONLY" ] || [ "$ONLY" = "$index" ] || [ "$ONLY" = "$uuid" ]; then
            "$1" "$index" "$uuid"
            shown=$((shown + 1))
        fi
        index=$((index + 1))
    done
    [ $shown -gt 0 ] || refuse 'No devices were found' 6
}

table() {
    date '+%a %b %e %H:%M:%S %Y'
    echo '+-----------------------------------------------------------------------------------------+'
    printf '| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n' $DRIVER $DRIVER $CUDA
    echo '+-----------------------------------------+------------------------+----------------------+'
    echo '| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |'
    echo '| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |'
    echo '|=========================================+========================+======================|'
    each box
    echo '| Processes:  No running processes found                                                  |'
    echo '+-----------------------------------------------------------------------------------------+'
}

COUNT=0
for uuid in $UUIDS; do COUNT=$((COUNT + 1)); done
MODE=table FIELDS='' FORMAT='' UNITS=yes HEAD=yes ONLY=''
set -f
while [ $# -gt 0 ]; do
    case $1 in
        -L | --list-gpus) MODE=list ;;
        -h | --help) usage && exit 0 ;;
        --query-gpu=*) MODE=query FIELDS=$(printf '%s' "${1#*=}" | tr ',' ' ') ;;
        --query-gpu) MODE=query FIELDS=$(printf '%s' "${2:-}" | tr ',' ' ') && shift ;;
        --query-compute-apps=*) MODE=apps FIELDS=$(printf '%s' "${1#*=}" | tr ',' ' ') ;;
        --format=*) FORMAT=${1#*=} ;;
        --format) FORMAT=${2:-} && shift ;;
        --id=*) ONLY=${1#*=} ;;
        -i | --id) ONLY=${2:-} && shift ;;
        *) refuse "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help." 2 ;;
    esac
    [ $# -eq 0 ] || shift
done
for option in $(printf '%s' "$FORMAT" | tr ',' ' '); do
    case $option in
        csv) ;;
        noheader) HEAD=no ;;
        nounits) UNITS=no ;;
        *) refuse "Unsupported format option '$option'; there are csv, noheader, nounits." 2 ;;
    esac
done
case $MODE in
    apps) apps ;;
    list) each entry ;;
    table) table ;;
    query)
        case ,$FORMAT, in *,csv,*) ;; *) refuse '--query-gpu needs --format=csv.' 2 ;; esac
        [ -n "$FIELDS" ] || refuse '--query-gpu needs at least one field.' 2
        [ $HEAD = no ] || row
        each row
        ;;
esac
