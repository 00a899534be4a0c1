// Package httpcases runs adversarial HTTP cases against a service that records
// every byte, through doorward or directly. The service refuses nothing and
// reads leniently: what must not arrive there is for doorward to stop, and what
// does arrive has to be one well-formed request for each that was let through.
// Each case is sent whole, byte by byte and cut at random, and where it can be
// said there, by HTTP/2: the verdict has to be the same. What can be put to
// `doorward policy eval` has to be decided in the same way there.
package httpcases
