"""The shell script that a container starts with: SSH first, then the user's command beside it.

POSIX sh, for whatever image the user names. It runs as root and as the container's main process. What it writes
lies in /run/orch/state, a volume that outlives a restart of the container, so the host key stays the same.
"""

from __future__ import annotations

import shlex

#: Where the Secret is mounted, read-only.
SECRETS = "/run/orch/ssh"
STATE = "/run/orch/state"
WORK = "/workspace"
#: A command that fails sooner than this has "died at once": the container ends with its status.
AT_ONCE_S = 20

_TEXT = r"""#!/bin/sh
set -u
keys=@SECRETS@
state=@STATE@
work=@WORK@
home=@HOME@
sshd_pid=
command_pid=
say() { echo "orch: $*"; }

find_sshd() {
  for file in "$(command -v sshd 2>/dev/null)" /usr/sbin/sshd /usr/local/sbin/sshd /sbin/sshd; do
    if [ -n "$file" ] && [ -x "$file" ]; then sshd=$file; return 0; fi
  done
  return 1
}

install_sshd() {
  say "the image has no sshd; installing one"
  if command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends openssh-server
  elif command -v apk >/dev/null 2>&1; then
    apk add --no-cache openssh
  elif command -v dnf >/dev/null 2>&1; then
    dnf install -y -q openssh-server
  elif command -v microdnf >/dev/null 2>&1; then
    microdnf install -y openssh-server
  elif command -v yum >/dev/null 2>&1; then
    yum install -y -q openssh-server
  else
    return 1
  fi >/dev/null
}

write_settings() {
  host=$state/host_ed25519
  if [ ! -s "$host" ]; then
    if [ -s "$keys/ssh_host_ed25519_key" ]; then
      cat "$keys/ssh_host_ed25519_key" > "$host"
    else
      ssh-keygen -q -t ed25519 -N '' -f "$host"
    fi
  fi
  chmod 600 "$host"
  cat "$keys/authorized_keys" > "$state/authorized_keys"
  chmod 600 "$state/authorized_keys"
  mkdir -p /run/sshd "$home"/.ssh
  chmod 700 "$home"/.ssh
  # Sessions get the container's environment, which sshd would not hand on. Its file has a line for each variable, so
  # one of several lines is left out whole: cut off, or its further lines taken for variables, it would mislead.
  mark=$(printf '\001')
  tr '\000\n' '\n\001' < /proc/$$/environ > "$state/environment"
  grep "$mark" "$state/environment" | while IFS='=' read -r name _; do
    say "$name has several lines: the command gets it, SSH sessions do not"
  done
  grep -E '^[A-Za-z_][A-Za-z0-9_]*=' "$state/environment" \
    | grep -v "$mark" \
    | grep -vE '^(HOME|PWD|OLDPWD|SHLVL|SHELL|USER|LOGNAME|TERM|_)=' > "$home"/.ssh/environment
  # sshd keeps out accounts that look locked.
  sed -i 's/^root:!/root:*/' /etc/shadow 2>/dev/null
  cat > "$state/sshd_config" <<EOF
Port 22
HostKey $host
PidFile none
AuthorizedKeysFile $state/authorized_keys
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
PermitUserEnvironment yes
X11Forwarding no
Subsystem sftp internal-sftp
EOF
}

keep_sshd() {
  while :; do
    "$sshd" -D -e -f "$state/sshd_config"
    say "sshd ended with $?; starting it again"
    sleep 2
  done
}

stop() {
  for pid in $command_pid $sshd_pid; do kill -TERM "$pid" 2>/dev/null; done
  exit 0
}

mkdir -p "$state" "$work"
cd "$work" 2>/dev/null || cd /
trap stop TERM INT
reachable=no
if find_sshd || { install_sshd && find_sshd; }; then
  write_settings
  keep_sshd &
  sshd_pid=$!
  reachable=yes
else
  say "no SSH: the image has no sshd and none could be installed"
fi

if [ -s "$keys/command" ]; then
  shell=$(command -v bash || command -v sh)
  began=$(date +%s)
  "$shell" -c "$(cat "$keys/command")" &
  command_pid=$!
  wait "$command_pid"
  status=$?
  command_pid=
  say "the command ended with $status"
  if [ "$status" -ne 0 ] && [ $(($(date +%s) - began)) -lt @AT_ONCE_S@ ]; then
    exit "$status"
  fi
fi
if [ "$reachable" = no ]; then
  exit 64
fi
wait "$sshd_pid"
"""


def script(*, secrets: str = SECRETS, state: str = STATE, work: str = WORK, home: str = "/root") -> str:
    """The script, for those folders; *home* is root's."""
    folders = {"SECRETS": secrets, "STATE": state, "WORK": work, "HOME": home, "AT_ONCE_S": str(AT_ONCE_S)}
    text = _TEXT
    for name, value in folders.items():
        text = text.replace(f"@{name}@", shlex.quote(value))
    return text
