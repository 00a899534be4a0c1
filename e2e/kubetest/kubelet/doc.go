// Package kubelet is a node for tests: it registers a Node, takes the pods that
// have none, runs their containers as processes of this machine, and serves
// what an API server calls on a kubelet: exec, attach, run, port-forward, logs
// and the list of pods. The streams are served by Kubernetes' own code
// (k8s.io/cri-streaming), so that exit codes, end of input and terminal sizes
// travel as they do in a real cluster.
//
// A container is a process in namespaces of its own (user, mount, process
// ids). It sees the machine's /usr, which it cannot write, and a root folder of
// its own; its image is a name only. It is in the machine's network: a pod's
// address is one of 127.0.0.0/8. All its processes end with it, and with the
// program that runs the kubelet.
//
// It is scheduler, too: one node needs no other. Not there are probes, images,
// limits, host paths, taints, affinities and a shared process namespace.
//
// It is test code. It must never be imported by the product and knows nothing
// of it.
package kubelet
