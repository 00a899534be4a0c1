// Package upstream holds the connections to production and the credentials for
// them. It is the only package that writes to a production connection, and what
// it writes is the bytes of a [gate.Permit], once, or one of a closed list of
// control statements of doorward's own (see [Control]), or a catalog query that
// is fixed in the code. It must never write what a client said without a
// permit, and never show a credential to anyone.
package upstream
