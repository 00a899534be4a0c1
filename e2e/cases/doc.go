// Package cases runs adversarial cases against a real PostgreSQL, through
// doorward or straight, and judges each by its effect at the target and by
// the bytes that the client got, never by what doorward says of itself.
//
// It must never soften a case: what a file of cases says is accepted is
// accepted, and nothing else is.
package cases
