// Package certs gives doorward's listeners a TLS identity: the certificate that
// the operator configured, or one issued by a certificate authority that
// doorward makes for itself at the first start and that its own clients are
// handed. It must never accept an expired or half-written key silently.
package certs
