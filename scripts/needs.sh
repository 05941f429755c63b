# Installs what the scripts need and the machine lacks, from Debian's packages. Sourced, not run.

# say TEXT: a headline that stands out in a long log.
say() {
    printf '\n== %s\n' "$*"
}

# need COMMAND-OR-FILE PACKAGE: remembers the package where the command, or the file, is not there.
need() {
    case $1 in
        /*) compgen -G "$1" >/dev/null && return ;;
        *) command -v "$1" >/dev/null && return ;;
    esac
    MISSING+=("$2")
}

# install_missing: what `need` has remembered. Fails with the list where it cannot.
install_missing() {
    [ ${#MISSING[@]} -gt 0 ] || return 0
    say "Installing ${MISSING[*]}"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    if ! command -v apt-get >/dev/null; then
        echo "This machine has no apt-get. Install what these Debian packages hold, and run this again: ${MISSING[*]}" >&2
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${root[@]}" apt-get update -qq -o DPkg::Lock::Timeout=600
    # Scripts that run at the same time wait for each other.
    "${root[@]}" apt-get install -o DPkg::Lock::Timeout=600 -y -qq --no-install-recommends "${MISSING[@]}" >/dev/null
    MISSING=()
}

# need_build: what building takes.
need_build() {
    MISSING=()
    need cc gcc
    need c++ g++
    need make make
    need cmake cmake
    need git git
    need python3 python3
    need_rust
}

# need_clients: the PKCS#11 clients that are tried on us, and SoftHSM, on which the scripts themselves are proven.
need_clients() {
    need pkcs11-tool opensc
    need openssl openssl
    need pkg-config pkg-config
    need /usr/include/openssl/evp.h libssl-dev
    need '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
    need p11-kit p11-kit
    need '/usr/lib/*/pkcs11/p11-kit-client.so' p11-kit-modules
    need '/usr/include/p11-kit-1/p11-kit/pkcs11.h' libp11-kit-dev
    need p11tool gnutls-bin
    need /usr/lib/softhsm/libsofthsm2.so softhsm2
    need ssh-keygen openssh-client
    need /usr/sbin/sshd openssh-server
    need certutil libnss3-tools
    need /usr/sbin/nginx nginx-light
    need /usr/sbin/apache2 apache2-bin
    need stunnel stunnel4
    need curl curl
    need kzonesign knot-dnssecutils
    need /usr/sbin/keymgr knot
    need ods-hsmutil libhsm-bin
    need pki strongswan-pki
    need /usr/lib/ipsec/plugins/libstrongswan-pkcs11.so libstrongswan-extra-plugins
    need /usr/lib/ipsec/plugins/libstrongswan-openssl.so libstrongswan-standard-plugins
    need /usr/sbin/openvpn openvpn
    need gnupg-pkcs11-scd gnupg-pkcs11-scd
    need gpgsm gpgsm
    need gpg gpg
    need gpg-agent gpg-agent
    need osslsigncode osslsigncode
    need systemd-cryptenroll systemd
    need /usr/sbin/cryptsetup cryptsetup-bin
    need valgrind valgrind
    need zsh zsh
    need fish fish
    need '/usr/lib/python3*/ensurepip/__main__.py' python3-venv
}

# need_large_clients: those that are tried with scripts/test --all alone.
need_large_clients() {
    need javac openjdk-17-jdk-headless
    need node nodejs
    need npm npm
    need firefox-esr firefox-esr
    need chromium chromium
    need Xvfb xvfb
    need xdotool xdotool
    need import imagemagick
}

# Cargo by rustup, which then takes the toolchain that rust-toolchain.toml names.
need_rust() {
    # shellcheck disable=SC1091 # made by rustup
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    command -v cargo >/dev/null && return
    MISSING+=(curl ca-certificates)
    install_missing
    say "Installing Rust by rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal --default-toolchain none
    # shellcheck disable=SC1091
    . "$HOME/.cargo/env"
}

# The compiler's cache where there is one: AWS-LC and SQLite are C.
use_ccache() {
    if command -v ccache >/dev/null; then
        export CC="${CC:-ccache cc}" CXX="${CXX:-ccache c++}"
    fi
}
