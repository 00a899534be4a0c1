package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

const maxSecret = 64 << 10

// Secret says where a secret is to be had: exactly one of the fields is set.
// It never shows a value, however it is printed or marshalled.
type Secret struct {
	Env   string `yaml:"env,omitempty"`   // name of an environment variable
	File  string `yaml:"file,omitempty"`  // path of a file; a line end at its end is dropped
	Value string `yaml:"value,omitempty"` // the secret itself, for development
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// Resolve gives the secret. Without one it gives "".
func (s Secret) Resolve() (string, error) {
	switch {
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok || v == "" {
			return "", fmt.Errorf("the environment variable %s has no value; set it before doorward starts", s.Env)
		}
		return v, nil
	case s.File != "":
		return readSecret(s.File)
	}
	return s.Value, nil
}

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("the secret cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("the secret in %s cannot be read: %w", path, errors.Unwrap(err))
	case len(b) > maxSecret:
		return "", fmt.Errorf("the secret in %s has more than %d bytes", path, maxSecret)
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return "", fmt.Errorf("the secret in %s is empty", path)
	}
	return v, nil
}

// String says where the secret is, never what it is.
func (s Secret) String() string {
	switch {
	case s.Env != "":
		return "secret(env " + s.Env + ")"
	case s.File != "":
		return "secret(file " + s.File + ")"
	case s.Value != "":
		return "secret(value)"
	}
	return "secret(none)"
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML is String.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// fromEnv resolves a text that may be written env:NAME. It reports the
// variable when that has no value.
func fromEnv(text string) (value, missing string) {
	name, ok := strings.CutPrefix(text, "env:")
	if !ok {
		return text, ""
	}
	if v := os.Getenv(name); v != "" {
		return v, ""
	}
	return text, name
}
