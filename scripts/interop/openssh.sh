#!/bin/bash
# OpenSSH: public keys, logins to a server on loopback by key, agent and certificate. Usage: scripts/interop/openssh.sh MODULE
. "$(dirname "$0")/lib.sh"
# The agent has rights of its own, so that valgrind may not run it. It loads the module in a helper, which is one of those that do.
begin openssh "${1:-}" ssh ssh-keygen ssh-add
[ -z "${VALGRIND:-}" ] || { cp /usr/lib/openssh/ssh-pkcs11-helper helper && under_valgrind "./helper"; export SSH_PKCS11_HELPER=$WORK/helper; }
wants ssh-keygen openssh-client /usr/sbin/sshd openssh-server
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA

# The agent and the server's login shell start with the environment that leads to this token.
server() {
    PORT=$(free_port)
    ssh-keygen -q -t ed25519 -N '' -f host
    cat >sshd_config <<END
Port $PORT
ListenAddress 127.0.0.1
HostKey $WORK/host
AuthorizedKeysFile $WORK/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile $WORK/sshd.pid
END
    cat >ssh_config <<END
Host login
    HostName 127.0.0.1
    Port $PORT
    User $(id -un)
    UserKnownHostsFile $WORK/known_hosts
    StrictHostKeyChecking accept-new
    PreferredAuthentications publickey
    BatchMode no
END
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    /usr/sbin/sshd -f "$WORK/sshd_config" -E "$WORK/sshd.log" && listening "$PORT"
}
step "a server on loopback" server
follow
stranger() {
    : >authorized_keys
    SSH_ASKPASS=$WORK/askpass SSH_ASKPASS_REQUIRE=force ssh -F ssh_config -o "PKCS11Provider=$MODULE" login true
    [ $? -eq 255 ] # ssh's own refusal, not a signal
}
step "a key that the server does not know is refused" stranger
pass
