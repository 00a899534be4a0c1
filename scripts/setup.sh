#!/usr/bin/env bash
# Installs what the tests need and do not find: Debian packages (as root) and
# the npm packages of the console and of the Node client test.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
need() { # need PACKAGE TEST…: the package is missing when the test fails
  local package=$1; shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}
have_glob() { compgen -G "$1" >/dev/null; }

need postgresql have_glob '/usr/lib/postgresql/*/bin/postgres'
need postgresql-contrib have_glob '/usr/share/postgresql/*/extension/dblink.control'
need postgresql-client command -v psql
need pgbouncer command -v pgbouncer
need chromium command -v chromium
need python3-psycopg2 /usr/bin/python3 -c 'import psycopg2'
need libpostgresql-jdbc-java test -e /usr/share/java/postgresql.jar
need default-jdk-headless command -v javac
need gcc command -v gcc
need libc6-dev test -e /usr/include/stdlib.h
need nodejs command -v node
need npm command -v npm

if [ "${#packages[@]}" -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup: these Debian packages are missing, and installing them needs root:" >&2
    echo "  sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${packages[*]}"
  # The tests start servers of their own: the package need not make one.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

for dir in web e2e/node; do
  if [ ! -e "$dir/node_modules/.package-lock.json" ] || [ "$dir/package-lock.json" -nt "$dir/node_modules/.package-lock.json" ]; then
    (cd "$dir" && npm ci --no-audit --no-fund)
    touch "$dir/node_modules/.package-lock.json"
  fi
done
echo "setup: everything is there"
