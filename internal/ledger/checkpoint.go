package ledger

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// checkpointText is the body of a checkpoint, in the C2SP tlog-checkpoint
// format: origin, size, root.
func checkpointText(origin string, size uint64, root tlog.Hash) string {
	return origin + "\n" + strconv.FormatUint(size, 10) + "\n" + root.String() + "\n"
}

// checkpointBody is a parsed checkpoint whose signature was checked.
type checkpointBody struct {
	origin string
	size   uint64
	root   [32]byte
}

// parseCheckpoint checks the signature of a checkpoint and reads it.
func parseCheckpoint(msg []byte, v note.Verifier) (c checkpointBody, err error) {
	if len(msg) > maxCheckpoint {
		return c, fmt.Errorf("the checkpoint is longer than %d bytes", maxCheckpoint)
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		var unknown *note.UnverifiedNoteError
		if errors.As(err, &unknown) {
			return c, fmt.Errorf("the checkpoint is not signed by the key %s", v.Name())
		}
		return c, fmt.Errorf("the checkpoint's signature is not good: %w", err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != v.Name() {
		return c, errors.New("the checkpoint is not of this ledger, or cut short")
	}
	size, err := strconv.ParseUint(lines[1], 10, 62)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return c, errors.New("the checkpoint's size is not a number")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != 32 {
		return c, errors.New("the checkpoint's root is not a hash")
	}
	return checkpointBody{lines[0], size, [32]byte(root)}, nil
}

// loadSigner reads the key of dir, or makes it if dir holds no ledger yet.
func loadSigner(dir string, fresh bool) (note.Signer, note.Verifier, error) {
	path := filepath.Join(dir, keyName)
	skey, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		return makeSigner(dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the ledger's signing key: %w (restore it from a backup; a new key would break the chain of checkpoints)", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("the ledger's signing key %s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(skey)))
	if err != nil {
		return nil, nil, fmt.Errorf("the ledger's signing key %s is not a key: restore it from a backup", path)
	}
	v, err := LoadKey(filepath.Join(dir, publicName))
	if err != nil {
		return nil, nil, err
	}
	if v.Name() != signer.Name() || v.KeyHash() != signer.KeyHash() {
		return nil, nil, fmt.Errorf("%s does not belong to the signing key beside it: restore both from a backup", filepath.Join(dir, publicName))
	}
	return signer, v, nil
}

func makeSigner(dir string) (note.Signer, note.Verifier, error) {
	id := make([]byte, 6)
	if _, err := rand.Read(id); err != nil {
		return nil, nil, err
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, "doorward/ledger/"+hex.EncodeToString(id))
	if err != nil {
		return nil, nil, err
	}
	// The public half first: with a key there is always its public half.
	if err := writeFileDurably(dir, publicName, []byte(vkey+"\n"), 0o644); err != nil {
		return nil, nil, err
	}
	if err := writeFileDurably(dir, keyName, []byte(skey+"\n"), 0o600); err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, nil, err
	}
	v, err := note.NewVerifier(vkey)
	return signer, v, err
}

// LoadKey reads a public key file ("key.pub" in the ledger's folder).
func LoadKey(path string) (note.Verifier, error) {
	b, err := readSmall(path, maxCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's public key: %w", err)
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s is not a ledger's public key", path)
	}
	return v, nil
}

// readSmall reads a file that may have at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// writeFileDurably replaces a file: the old one or the new one is there after
// a crash, whole.
func writeFileDurably(dir, name string, data []byte, mode os.FileMode) error {
	tmp := filepath.Join(dir, name+".new")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
