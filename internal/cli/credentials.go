package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zalando/go-keyring"
)

const (
	keyringService = "doorward"
	keyringWait    = 3 * time.Second
	maxCredentials = 1 << 20
)

// credentials are what `doorward login` keeps. The token is in the system's
// keyring where there is one, else in the file, readable by its owner only.
type credentials struct {
	Server  string    `json:"server"`
	Name    string    `json:"name"`
	Expires time.Time `json:"expires,omitzero"`
	CA      string    `json:"ca_pem,omitempty"`
	Keyring bool      `json:"keyring,omitempty"`
	Token   string    `json:"token,omitempty"`
}

// credentialsFile is where they are kept. A folder named by
// DOORWARD_CONFIG_DIR is used alone, without the keyring.
func credentialsFile() (path string, keyringToo bool, err error) {
	if dir := os.Getenv("DOORWARD_CONFIG_DIR"); dir != "" {
		return filepath.Join(dir, "credentials.json"), false, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", false, fmt.Errorf("there is no folder for credentials: %w; set DOORWARD_CONFIG_DIR", err)
	}
	return filepath.Join(dir, "doorward", "credentials.json"), true, nil
}

// loadCredentials gives the sign-in: from the environment where DOORWARD_TOKEN
// is set (for workloads), else what `doorward login` kept.
func loadCredentials() (*credentials, error) {
	if token := os.Getenv("DOORWARD_TOKEN"); token != "" {
		c := &credentials{Server: os.Getenv("DOORWARD_SERVER"), Token: token}
		if c.Server == "" {
			return nil, exitf(CodeUsage, "DOORWARD_TOKEN is set but DOORWARD_SERVER is not; set it to the address of the console, such as https://doorward.example:8443")
		}
		if file := os.Getenv("DOORWARD_CA"); file != "" {
			pem, err := readBounded(file, maxCredentials)
			if err != nil {
				return nil, exitf(CodeUsage, "DOORWARD_CA: %w", err)
			}
			c.CA = string(pem)
		}
		return c, nil
	}
	path, _, err := credentialsFile()
	if err != nil {
		return nil, err
	}
	raw, err := readBounded(path, maxCredentials)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitf(CodeNotSigned, "not signed in: run `doorward login --server https://HOST:8443`")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	var c credentials
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, exitf(CodeNotSigned, "%s is damaged: run `doorward login` again", path)
	}
	if c.Keyring {
		if c.Token, err = fromKeyring(c.Server); err != nil {
			return nil, exitf(CodeNotSigned, "the keyring does not give the sign-in for %s: %w; run `doorward login` again", cleanLine(c.Server), err)
		}
	}
	if c.Token == "" || c.Server == "" {
		return nil, exitf(CodeNotSigned, "not signed in: run `doorward login --server https://HOST:8443`")
	}
	return &c, nil
}

func (c credentials) save() (where string, err error) {
	path, keyringToo, err := credentialsFile()
	if err != nil {
		return "", err
	}
	where = path
	if keyringToo && withTimeout(func() error { return keyring.Set(keyringService, c.Server, c.Token) }) == nil {
		c.Token, c.Keyring, where = "", true, "the system's keyring"
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return "", err
	}
	if err := writeSecret(path, append(raw, '\n')); err != nil {
		return "", fmt.Errorf("keeping the credentials: %w", err)
	}
	return where, nil
}

// forget removes what save kept.
func (c credentials) forget() error {
	path, _, err := credentialsFile()
	if err != nil {
		return err
	}
	if c.Keyring {
		if err := withTimeout(func() error { return keyring.Delete(keyringService, c.Server) }); err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return fmt.Errorf("removing the token from the keyring: %w", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func fromKeyring(server string) (token string, err error) {
	type answer struct {
		token string
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		t, err := keyring.Get(keyringService, server)
		ch <- answer{t, err}
	}()
	select {
	case a := <-ch:
		return a.token, a.err
	case <-time.After(keyringWait):
		return "", errors.New("it did not answer")
	}
}

func withTimeout(f func() error) error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	select {
	case err := <-ch:
		return err
	case <-time.After(keyringWait):
		return errors.New("the keyring did not answer")
	}
}

// writeSecret writes a file that only its owner may read, whole or not at all.
func writeSecret(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".doorward-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when the rename worked
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

func readAll(r io.Reader, what string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", what, limit)
	}
	return b, nil
}
