// Package kubetest starts private Kubernetes clusters for tests: etcd, the real
// kube-apiserver and kube-controller-manager, and a node whose containers are
// processes of this machine (package kubelet). All listen on loopback
// addresses only.
//
// The programs are those that scripts/kubernetes.sh makes. Where one is
// missing a start fails and says so.
//
// It knows nothing of the product and must never import a package of it.
package kubetest
