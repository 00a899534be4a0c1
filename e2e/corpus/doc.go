// Command corpus runs files of adversarial cases against a real PostgreSQL
// through doorward and says which of them pass:
//
//	go run ./e2e/corpus --protocol postgres [--mode both] [--split none] FILE…
//
// It decides nothing itself: what a case accepts stands in the case.
package main
