package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Keys holds doorward's own private keys, sealed.
type Keys interface {
	// Key gives the secret with this name, or ErrNotFound.
	Key(ctx context.Context, name string) ([]byte, error)
	// EnsureKey gives the secret with this name; the first time it keeps the
	// one that made makes. Two callers at once get the same.
	EnsureKey(ctx context.Context, name string, made func() ([]byte, error)) ([]byte, error)
	// PutKey keeps a secret under this name, in place of any before.
	PutKey(ctx context.Context, name string, value []byte) error
}

// sealer seals secrets with AES-256-GCM under the key of the key file. The
// name of a secret is bound in, so sealed secrets cannot be swapped.
type sealer struct{ aead cipher.AEAD }

// openSealer reads the key file, or makes it if nothing was sealed before.
func openSealer(ctx context.Context, path string, db *sql.DB) (*sealer, error) {
	key, err := readSealKey(path)
	if errors.Is(err, os.ErrNotExist) {
		var n int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM secrets`).Scan(&n); err != nil {
			return nil, err
		}
		if n > 0 {
			return nil, fmt.Errorf("the store holds sealed keys, and their key file %s is missing: restore it from the backup it was kept in", path)
		}
		key, err = makeSealKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead}, nil
}

func readSealKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s can be read by others (mode %04o): run chmod 600 on it, and consider the keys as known to those who could read it", path, st.Mode().Perm())
	}
	buf := make([]byte, 256)
	n, err := f.Read(buf)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(buf[:n])))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("the key file %s is damaged (want 64 hexadecimal digits): restore it from its backup", path)
	}
	return key, nil
}

// makeSealKey writes a new key file so that it is there whole or not at all.
func makeSealKey(path string) ([]byte, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // fails if another was quicker
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *sealer) seal(name string, value []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return s.aead.Seal(nonce, nonce, value, []byte(name)), nil
}

func (s *sealer) open(name string, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("store: the sealed key %q is damaged", name)
	}
	v, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(name))
	if err != nil {
		return nil, fmt.Errorf("store: the sealed key %q does not open: it was changed, or the key file is another store's", name)
	}
	return v, nil
}

func checkKey(name string, value []byte) error {
	if name == "" || len(name) > 128 {
		return errors.New("store: a key needs a name of 1 to 128 bytes")
	}
	if len(value) > 64<<10 {
		return fmt.Errorf("store: key %q has %d bytes, at most %d fit", name, len(value), 64<<10)
	}
	return nil
}

// Key implements [Keys].
func (s *Store) Key(ctx context.Context, name string) ([]byte, error) {
	var sealed []byte
	err := s.rd.QueryRowContext(ctx, `SELECT sealed FROM secrets WHERE name = ?`, name).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("store: key %q: %w", name, err)
	}
	return s.seal.open(name, sealed)
}

// EnsureKey implements [Keys].
func (s *Store) EnsureKey(ctx context.Context, name string, made func() ([]byte, error)) ([]byte, error) {
	if v, err := s.Key(ctx, name); !errors.Is(err, ErrNotFound) {
		return v, err
	}
	v, err := made()
	if err != nil {
		return nil, fmt.Errorf("store: make key %q: %w", name, err)
	}
	if err := s.putKey(ctx, name, v, `INSERT INTO secrets (name, sealed) VALUES (?, ?) ON CONFLICT DO NOTHING`); err != nil {
		return nil, err
	}
	return s.Key(ctx, name)
}

// PutKey implements [Keys].
func (s *Store) PutKey(ctx context.Context, name string, value []byte) error {
	return s.putKey(ctx, name, value, `INSERT INTO secrets (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed`)
}

func (s *Store) putKey(ctx context.Context, name string, value []byte, query string) error {
	if err := checkKey(name, value); err != nil {
		return err
	}
	sealed, err := s.seal.seal(name, value)
	if err != nil {
		return err
	}
	_, err = do(ctx, s, func(tx *sql.Tx) (struct{}, error) {
		_, err := tx.Exec(query, name, sealed)
		return struct{}{}, err
	})
	return err
}
