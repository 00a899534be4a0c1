// Package frame is the form in which what a session of streams sends is
// released and recorded (commands of hosts and pods, answers of HTTP): one
// stream of frames for heads, output, errors, window sizes and the end. It must
// never interpret what a frame carries.
package frame
