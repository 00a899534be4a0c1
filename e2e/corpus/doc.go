// Command corpus runs files of adversarial cases against a real server (a
// PostgreSQL, a host with OpenSSH's sshd, or the API server of a Kubernetes
// cluster) through doorward and says which of them pass:
//
//	go run ./e2e/corpus --protocol postgres [--mode both] [--split none] FILE…
//	go run ./e2e/corpus --protocol ssh FILE…
//	go run ./e2e/corpus --protocol kubernetes [--via direct] FILE…
//
// It decides nothing itself: what a case accepts stands in the case.
package main
