#!/bin/bash
# OpenSC's pkcs11-tool: its own self-test, keys, signatures and ciphers against OpenSSL in both directions, import and
# export, PINs. Usage: scripts/interop/pkcs11-tool.sh MODULE
. "$(dirname "$0")/lib.sh"
begin pkcs11-tool "${1:-}" pkcs11-tool
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS RSA-PKCS-PSS RSA-PKCS-OAEP SHA256-RSA-PKCS SHA256-RSA-PKCS-PSS \
    ECDSA AES-KEY-GEN AES-CBC-PAD AES-ECB SHA256
# SoftHSM 2.6 speaks PKCS#11 2.40, has no X25519, takes no IV where it wraps, and takes a child for its parent; its logins
# are in each other's way, and threads that initialise it at once bring it down at times.
is_softhsm && leave_out "Interfaces of PKCS#11 3.0 and later" "Make keys on the Edwards and Montgomery curves" \
    "Sign with Ed25519" "Wrap and unwrap with AES" "pkcs11-tool's own tests: a forked process" \
    "pkcs11-tool's own tests: threads, and the way that Mozilla's programs go" "Twenty-four processes at once"
# Who changes PINs at the same time as another must expect to be refused.
[ -z "${DISTURB:-}" ] || leave_out "PINs"
follow
[ -z "${DISTURB:-}" ] || pass
# The rest of it is the page's matrix at full width, on a token made anew.
step "make the token anew" p11 --slot-index 0 --init-token --label "$LABEL" --so-pin "$SO_PIN"
step "set the user PIN" p11 --token-label "$LABEL" --init-pin --login --login-type so --so-pin "$SO_PIN" --new-pin "$PIN"

head -c 1000 /dev/urandom >data
openssl dgst -sha256 -binary data >hash
printf 'a secret of 32 bytes, no more...' >short

# --- keys made in the token ---------------------------------------------------------------------------------------
step "generate RSA-2048" tool --keypairgen --key-type rsa:2048 --id 01 --label rsa
step "generate P-256" tool --keypairgen --key-type EC:prime256v1 --id 02 --label ec
step "generate AES-256" tool --keygen --key-type AES:32 --id 03 --label aes
step "read the RSA public key" tool --read-object --type pubkey --id 01 --output-file rsa.der
step "read the P-256 public key" tool --read-object --type pubkey --id 02 --output-file ec.der
step "OpenSSL takes the RSA public key" openssl pkey -pubin -inform DER -in rsa.der -out rsa.pub
step "OpenSSL takes the P-256 public key" openssl pkey -pubin -inform DER -in ec.der -out ec.pub
# pkcs11-tool's exit status does not tell whether it got a value.
stays_inside() {
    tool --read-object "$@" --output-file leaked
    [ ! -s leaked ]
}
step "the private key does not leave" stays_inside --type privkey --id 01
step "the AES key does not leave" stays_inside --type secrkey --id 03
refused "without a login no private key signs" \
    p11 --token-label "$LABEL" --sign --mechanism SHA256-RSA-PKCS --id 01 --input-file data --output-file leaked.sig </dev/null

# --- pkcs11-tool's own test -----------------------------------------------------------------------------------------
self_test() {
    tool --test >"$WORK/test.log"
    local status=$?
    cat "$WORK/test.log"
    if is_softhsm; then
        # It ignores the label of OAEP, and the test gives one: that far it must come.
        tail -n 1 "$WORK/test.log" | grep -q 'RSA-PKCS-OAEP'
    else
        [ $status -eq 0 ] && grep -qx 'No errors' "$WORK/test.log"
    fi
}
step "pkcs11-tool --test --login: no errors" self_test
# What follows is the same calls over again.
[ -z "${VALGRIND:-}" ] || pass

# --- the token signs, OpenSSL verifies ------------------------------------------------------------------------------
# signs TEXT ID MECHANISM INPUT "OPTIONS" OPENSSL-COMMAND...
signs() {
    local mechanism=$1 id=$2 input=$3 options=$4
    shift 4
    # shellcheck disable=SC2086 # the options are words
    step "sign with $mechanism $options" tool --sign --mechanism "$mechanism" --id "$id" --input-file "$input" --output-file sig $options
    step "  OpenSSL verifies it" "$@"
}
pss() {
    echo "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:$2 -sigopt rsa_mgf1_md:$1"
}
for bits in 256 384 512; do
    signs "SHA$bits-RSA-PKCS" 01 data "" openssl dgst -"sha$bits" -verify rsa.pub -signature sig data
    # shellcheck disable=SC2046
    signs "SHA$bits-RSA-PKCS-PSS" 01 data "" openssl dgst -"sha$bits" -verify rsa.pub $(pss "sha$bits" $((bits / 8))) -signature sig data
done
signs RSA-PKCS 01 short "" openssl pkeyutl -verify -pubin -inkey rsa.pub -in short -sigfile sig
signs RSA-PKCS-PSS 01 hash "--hash-algorithm SHA256 --mgf MGF1-SHA256" \
    openssl pkeyutl -verify -pubin -inkey rsa.pub -in hash -sigfile sig -pkeyopt digest:sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:32
signs ECDSA 02 hash "--signature-format openssl" openssl pkeyutl -verify -pubin -inkey ec.pub -in hash -sigfile sig
for bits in 256 384 512; do
    if has "ECDSA-SHA$bits" || ! is_softhsm; then
        signs "ECDSA-SHA$bits" 02 data "--signature-format openssl" openssl dgst -"sha$bits" -verify ec.pub -signature sig data
    fi
done

# --- OpenSSL signs, the token verifies -----------------------------------------------------------------------------
openssl genrsa -out own-rsa.pem 3072 2>/dev/null
openssl ecparam -name prime256v1 -genkey -noout -out own-ec.pem
for kind in rsa ec; do
    openssl pkey -in own-$kind.pem -pubout -outform DER -out own-$kind.pub.der
    openssl pkey -in own-$kind.pem -outform DER -out own-$kind.der
done
step "import an RSA public key" tool --write-object own-rsa.pub.der --type pubkey --id 11 --label own-rsa
step "import a P-256 public key" tool --write-object own-ec.pub.der --type pubkey --id 12 --label own-ec
verified() {
    tool --verify "$@" --signature-file sig | tee "$WORK/verify.log"
    grep -qi 'signature is valid' "$WORK/verify.log"
}
openssl dgst -sha256 -sign own-rsa.pem -out sig data
step "verify SHA256-RSA-PKCS of OpenSSL" verified --mechanism SHA256-RSA-PKCS --id 11 --input-file data
# shellcheck disable=SC2046
openssl dgst -sha384 -sign own-rsa.pem $(pss sha384 48) -out sig data
step "verify SHA384-RSA-PKCS-PSS of OpenSSL" verified --mechanism SHA384-RSA-PKCS-PSS --id 11 --input-file data
openssl pkeyutl -sign -inkey own-ec.pem -in hash -out sig
step "verify ECDSA of OpenSSL" verified --mechanism ECDSA --id 12 --input-file hash --signature-format openssl
head -c 32 /dev/urandom >other-hash
refused "another hash is refused" verified --mechanism ECDSA --id 12 --input-file other-hash --signature-format openssl

# --- private keys brought along --------------------------------------------------------------------------------------
step "import an RSA private key" tool --write-object own-rsa.der --type privkey --id 11 --label own-rsa --usage-sign --usage-decrypt
step "import a P-256 private key" tool --write-object own-ec.der --type privkey --id 12 --label own-ec --usage-sign
openssl pkey -in own-rsa.pem -pubout -out own-rsa.pub
openssl pkey -in own-ec.pem -pubout -out own-ec.pub
signs SHA256-RSA-PKCS 11 data "" openssl dgst -sha256 -verify own-rsa.pub -signature sig data
signs ECDSA 12 hash "--signature-format openssl" openssl pkeyutl -verify -pubin -inkey own-ec.pub -in hash -sigfile sig

# --- RSA decryption -----------------------------------------------------------------------------------------------
openssl pkeyutl -encrypt -pubin -inkey rsa.pub -in short -out cipher
step "decrypt RSA-PKCS of OpenSSL" tool --decrypt --mechanism RSA-PKCS --id 01 --input-file cipher --output-file plain
step "  it is the plaintext" cmp short plain
oaep="1"
is_softhsm || oaep="1 256 384 512" # SoftHSM has no other hash in OAEP
for bits in $oaep; do
    name=$([ "$bits" = 1 ] && echo SHA-1 || echo "SHA$bits")
    openssl pkeyutl -encrypt -pubin -inkey rsa.pub -in short -out cipher -pkeyopt rsa_padding_mode:oaep \
        -pkeyopt "rsa_oaep_md:sha$bits" -pkeyopt "rsa_mgf1_md:sha$bits"
    step "decrypt OAEP with $name of OpenSSL" tool --decrypt --mechanism RSA-PKCS-OAEP --hash-algorithm "$name" --mgf "MGF1-SHA$bits" \
        --id 01 --input-file cipher --output-file plain
    step "  it is the plaintext" cmp short plain
done

# --- AES ------------------------------------------------------------------------------------------------------------
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
iv=f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff
printf "$(sed 's/../\\x&/g' <<<"$key")" >aes.key
head -c 1008 /dev/urandom >blocks
step "import an AES-256 key" tool --write-object aes.key --type secrkey --key-type AES:32 --id 13 --label own-aes --usage-decrypt
# cipher MECHANISM OPENSSL-CIPHER INPUT OPENSSL-OPTIONS...
cipher() {
    local mechanism=$1 name=$2 input=$3
    shift 3
    local with_iv=()
    [[ $name == *ecb ]] || with_iv=(-iv "$iv")
    step "encrypt with $mechanism" tool --encrypt --mechanism "$mechanism" --id 13 --iv "$iv" --input-file "$input" --output-file cipher
    step "  OpenSSL decrypts it" openssl enc -d "-$name" -K "$key" "${with_iv[@]}" "$@" -in cipher -out plain
    step "  it is the plaintext" cmp "$input" plain
    openssl enc -e "-$name" -K "$key" "${with_iv[@]}" "$@" -in "$input" -out cipher
    step "decrypt $mechanism of OpenSSL" tool --decrypt --mechanism "$mechanism" --id 13 --iv "$iv" --input-file cipher --output-file plain
    step "  it is the plaintext" cmp "$input" plain
}
cipher AES-CBC-PAD aes-256-cbc data
cipher AES-CBC aes-256-cbc blocks -nopad
cipher AES-ECB aes-256-ecb blocks -nopad

refused "a wrong PIN" p11 --token-label "$LABEL" --login --pin 000000 --list-objects
pass
