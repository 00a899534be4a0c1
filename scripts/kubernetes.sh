#!/usr/bin/env bash
# Makes the programs of the test cluster (e2e/kubetest) and puts them into the
# user's cache: kube-apiserver, kube-controller-manager, kubectl, helm and k9s
# from their sources, etcd and an old kubectl from Debian's packages, which are
# unpacked and not installed: etcd's would start a server, and the other's file
# may be there already. It does nothing when they are there as this file and
# kubernetes/ want them. The first time takes twenty minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/kubernetes"

say() { echo "kubernetes: $*"; }
# of FOLDER MODULE: its version
of() { sed -nE "s|^(require)?[[:space:]]+$2 v([0-9.]+)( // indirect)?\$|\2|p" "$1/go.mod"; }
version=$(of . k8s.io/kubernetes)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/doorward-e2e
dir=$cache/kubernetes-$version
key=$(cat ../kubernetes.sh go.mod go.sum k9s/go.mod k9s/go.sum | sha256sum | cut -d' ' -f1)
programs=(etcd kube-apiserver kube-controller-manager kubectl-1.20 kubectl-"${version%.*}" helm k9s)

there() {
  [ "$(cat "$dir/key" 2>/dev/null)" = "$key" ] || return 1
  local p
  for p in "${programs[@]}"; do [ -x "$dir/$p" ] || return 1; done
}

there && { say "everything is there"; exit 0; }
mkdir -p "$dir"
exec 9>"$dir/lock"
flock -n 9 || { say "another run is at it: waiting"; flock 9; }
there && { say "everything is there"; exit 0; }
new=$(mktemp -d "$dir/new-XXXXXX")
trap 'rm -rf "$new"' EXIT

# From Debian's packages.
fetch() { (cd "$new" && apt-get -q -o "APT::Sandbox::User=$(id -un)" download "$@" >&2); }
say "fetching etcd and kubectl 1.20"
if ! fetch etcd-server kubernetes-client; then
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q >&2
  fetch etcd-server kubernetes-client
fi
for deb in "$new"/*.deb; do dpkg-deb -x "$deb" "$new/unpacked"; done
mv "$new/unpacked/usr/bin/etcd" "$new/etcd"
mv "$new/unpacked/usr/bin/kubectl" "$new/kubectl-1.20"
if ! said=$("$new/kubectl-1.20" version --client --short) || [[ "$said" != *v1.20.* ]]; then
  say "the tests want kubectl 1.20, as Debian 12 has it, and the package kubernetes-client has: $said" >&2
  exit 1
fi

# From the sources. One after the other: the later ones take up what the
# earlier ones compiled.
build() { # build FOLDER PACKAGE PROGRAM LDFLAGS
  local begin=$SECONDS
  say "building $3"
  (cd "$1" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w $4" -o "$new/$3" "$2")
  say "built $3 in $((SECONDS - begin)) s"
}
at=k8s.io/component-base/version
minor=${version#*.}
flags="-X $at.gitVersion=v$version -X $at.gitMajor=1 -X $at.gitMinor=${minor%%.*} -X $at.gitTreeState=clean"
build . k8s.io/kubernetes/cmd/kubectl kubectl-"${version%.*}" "$flags"
build . helm.sh/helm/v4/cmd/helm helm "-X helm.sh/helm/v4/internal/version.version=v$(of . helm.sh/helm/v4)"
build . k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver "$flags"
build . k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager "$flags"
build k9s github.com/derailed/k9s k9s "-X github.com/derailed/k9s/cmd.version=v$(of k9s github.com/derailed/k9s)"

for p in "${programs[@]}"; do mv -f "$new/$p" "$dir/$p"; done
echo "$key" >"$dir/key"
say "everything is in $dir"
