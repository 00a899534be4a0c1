// Package ssh is the form in which what an SSH session sends is released and
// recorded: one stream of frames for output, errors, window sizes and the end.
// It must never interpret what a frame carries.
package ssh
