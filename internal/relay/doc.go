// Package relay moves what one permit lets run between a client and its
// target: the streams of a command or a shell ([Run]), and a connection
// ([Pump]). Everything towards the client is masked, counted, recorded and
// released in one place, one frame at a time; everything towards the target is
// recorded and goes under the permit.
//
// It knows no protocol: adapters give it the client's streams and the target's
// process. It must never read or change what the permit is for, and must never
// let bytes pass that are not on the tape.
package relay
