package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Env is all that commands touch of the outside: streams, and the functions
// that only the program itself can give because they need the gate.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// Serve runs the gate until ctx ends; ready is called once it accepts.
	Serve func(ctx context.Context, configPath string, ready func()) error
	// TargetPlan gives the SQL of the least-privilege role for a target.
	TargetPlan func(ctx context.Context, configPath, target string) (string, error)
	// Demo runs the demonstration until ctx ends; nil when the program has none.
	Demo func(ctx context.Context) error
	// Reach tries to sign in at a target; nil when the program cannot.
	Reach func(ctx context.Context, configPath, target string) error
}

// Exit codes of every command.
const (
	CodeOK        = 0 // done
	CodeError     = 1 // failed
	CodeUsage     = 2 // the command line or the configuration is wrong
	CodeDenied    = 3 // the answer is no
	CodeHeld      = 4 // waits for people
	CodeNotSigned = 5 // not signed in, or the sign-in has ended
)

// Exit is an error with the exit code that it means. Err may be nil when the
// command has said everything already.
type Exit struct {
	Code int
	Err  error
}

// Error is the text of Err, or the code when there is none.
func (e *Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap gives Err.
func (e *Exit) Unwrap() error { return e.Err }

// exitf makes an [Exit] with a formatted error.
func exitf(code int, format string, args ...any) error {
	return &Exit{Code: code, Err: fmt.Errorf(format, args...)}
}

// exitCode gives the exit code that err means.
func exitCode(err error) int {
	if err == nil {
		return CodeOK
	}
	var e *Exit
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeError
}
