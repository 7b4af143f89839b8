# shellcheck shell=bash
# Read by tests and the runner: certificates of their own, made with openssl.
#
# certs_ca FOLDER [NAME]      a CA: FOLDER/NAME.pem and NAME.key (default: ca)
# certs_issue FOLDER NAME SUBJECT [OPTION...]
#                             FOLDER/NAME.pem and NAME.key, signed by ca. SUBJECT as /CN=broker; options:
#                             san=DNS:a,IP:127.0.0.1   from=20200101 to=20200201   by=CA   use=clientAuth
# certs_broker FOLDER         a CA, and broker.pem for this host by address and name; sets RABBITMQ_TEST_CERTS

certs_broker() {
  export RABBITMQ_TEST_CERTS=$1
  certs_ca "$1" && certs_issue "$1" broker /CN=broker san=IP:127.0.0.1,DNS:localhost
}

certs_say() {
  "$@" 2>"$certs_folder/openssl.out" || {
    cat "$certs_folder/openssl.out" >&2
    return 1
  }
}

certs_ca() {
  local certs_folder=$1 ca=${2:-ca}
  mkdir -p "$certs_folder"
  certs_say openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch \
    -keyout "$certs_folder/$ca.key" -out "$certs_folder/$ca.pem" -days 30 -sha256 -subj "/CN=muxd test $ca" \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign &&
    : >"$certs_folder/$ca.index"
}

certs_issue() {
  local certs_folder=$1 cert=$2 subject=$3 san='' from='' to='' by=ca use=serverAuth option
  shift 3
  for option in "$@"; do
    case $option in
    san=*) san=${option#san=} ;;
    from=*) from=${option#from=} ;;
    to=*) to=${option#to=} ;;
    by=*) by=${option#by=} ;;
    use=*) use=${option#use=} ;;
    *) echo "certs_issue: unknown option $option" >&2 && return 2 ;;
    esac
  done
  {
    printf '[ca]\ndefault_ca = x\n[x]\ndatabase = %s\n' "$certs_folder/$by.index"
    printf 'new_certs_dir = %s\nrand_serial = yes\ndefault_md = sha256\npolicy = p\n' "$certs_folder"
    printf 'unique_subject = no\nemail_in_dn = no\n[p]\ncommonName = supplied\norganizationName = optional\n'
    printf '[e]\nbasicConstraints = CA:false\nextendedKeyUsage = %s\n' "$use"
    [ -z "$san" ] || printf 'subjectAltName = %s\n' "$san"
  } >"$certs_folder/$cert.cnf"
  certs_say openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch -utf8 -subj "$subject" \
    -keyout "$certs_folder/$cert.key" -out "$certs_folder/$cert.csr" &&
    certs_say openssl ca -batch -notext -config "$certs_folder/$cert.cnf" -extensions e -utf8 \
      -cert "$certs_folder/$by.pem" -keyfile "$certs_folder/$by.key" -in "$certs_folder/$cert.csr" \
      -startdate "${from:-$(date -u -d yesterday +%Y%m%d)}000000Z" \
      -enddate "${to:-$(date -u -d '20 days' +%Y%m%d)}000000Z" -out "$certs_folder/$cert.pem" &&
    chmod 600 "$certs_folder/$cert.key"
}
