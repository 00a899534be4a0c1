package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/doorward/doorward/internal/ledger"
)

// AuditCmd groups the commands that read the ledger's files, offline.
type AuditCmd struct {
	Verify     AuditVerifyCmd     `cmd:"" help:"Check that the record is complete and unchanged."`
	Checkpoint AuditCheckpointCmd `cmd:"" help:"Print the newest signed checkpoint, for somebody else to keep."`
	Export     AuditExportCmd     `cmd:"" help:"Print every event as a line of JSON."`
}

// ledgerPlace says where the ledger is.
type ledgerPlace struct {
	Store  string `help:"Store of the server, as in its configuration: the ledger is the folder beside it." placeholder:"sqlite:///PATH"`
	Ledger string `help:"Folder of the ledger, if it is elsewhere." type:"path" placeholder:"DIR"`
}

func (p ledgerPlace) dir() (string, error) {
	if p.Ledger != "" {
		return p.Ledger, nil
	}
	if p.Store == "" {
		return "", exitf(CodeUsage, "say where the ledger is: --store sqlite:///var/lib/doorward/state.db, or --ledger DIR")
	}
	beside, err := p.beside("ledger")
	if err != nil {
		return "", exitf(CodeUsage, "%w: give --ledger DIR", err)
	}
	return beside, nil
}

// beside is a folder beside the store's file.
func (p ledgerPlace) beside(name string) (string, error) {
	path, ok := strings.CutPrefix(p.Store, "sqlite://")
	if !ok {
		return "", fmt.Errorf("--store %s is not sqlite:///PATH, so the %s folder cannot be derived from it", storeName(p.Store), name)
	}
	path, _, _ = strings.Cut(path, "?")
	if path == "" {
		return "", errors.New("--store names no file, as sqlite:///var/lib/doorward/state.db does")
	}
	return filepath.Join(filepath.Dir(path), name), nil
}

// storeName is a DSN without what could be a password.
func storeName(dsn string) string {
	if u, err := url.Parse(dsn); err == nil {
		return u.Redacted()
	}
	return "(unreadable)"
}

// AuditVerifyCmd is `audit verify`.
type AuditVerifyCmd struct {
	ledgerPlace `embed:""`
	Tapes       string `help:"Folder of the recordings, to check each tape against its seal. Default: the folder tapes beside the store's file, where there is one." type:"path" placeholder:"DIR"`
	Checkpoint  string `help:"A checkpoint that was kept elsewhere: finds a log that was rolled back or rewritten." type:"path" placeholder:"FILE"`
	Key         string `help:"The ledger's public key, kept elsewhere. Default: key.pub in the ledger's folder." type:"path" placeholder:"FILE"`
	JSON        bool   `help:"Print the report as JSON."`
}

// Run verifies. The exit code is 0 only if all is there and unchanged.
func (c *AuditVerifyCmd) Run(env *Env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	tapes, err := c.tapes()
	if err != nil {
		return exitf(CodeUsage, "the folder of the recordings: %w", err)
	}
	report, err := ledger.Verify(dir, ledger.VerifyOptions{Checkpoint: c.Checkpoint, Key: c.Key, Tapes: tapes})
	if err != nil {
		return exitf(CodeError, "%w. Check --store, --ledger, --key and --checkpoint", err)
	}
	if c.JSON {
		err = printJSON(env.Stdout, report)
	} else {
		_, err = fmt.Fprint(env.Stdout, cleanText(report.Summary()))
	}
	if err != nil {
		return err
	}
	if !report.OK {
		return &Exit{Code: CodeError}
	}
	return nil
}

// tapes is the folder of the recordings: the one that was given, or else the
// one beside the store's file; "" where there is none. One that is there and
// cannot be looked at is an error, so that nothing goes unchecked in silence.
func (c *AuditVerifyCmd) tapes() (string, error) {
	if c.Tapes != "" {
		_, err := os.Stat(c.Tapes)
		return c.Tapes, err
	}
	dir, err := c.beside("tapes")
	if err != nil {
		return "", nil // --ledger alone says where the log is, and nothing else
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", nil
	}
	return dir, nil
}

// AuditCheckpointCmd is `audit checkpoint`.
type AuditCheckpointCmd struct {
	ledgerPlace `embed:""`
}

// Run prints the checkpoint file, after checking its signature.
func (c *AuditCheckpointCmd) Run(env *Env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	msg, err := ledger.ReadCheckpoint(dir)
	if err != nil {
		return exitf(CodeError, "%w", err)
	}
	_, err = env.Stdout.Write(msg)
	return err
}

// AuditExportCmd is `audit export`.
type AuditExportCmd struct {
	ledgerPlace `embed:""`
	From        uint64 `help:"First event." placeholder:"INDEX"`
}

// Run prints {"index":N,"event":{…}} a line; the event is byte for byte what
// the tree's leaf was made of.
func (c *AuditExportCmd) Run(env *Env) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	var line []byte
	var outErr error
	err = ledger.Export(context.Background(), dir, c.From, func(i uint64, event []byte) error {
		if !json.Valid(event) {
			return fmt.Errorf("event %d is damaged: run `doorward audit verify`", i)
		}
		line = fmt.Appendf(line[:0], `{"index":%d,"event":`, i)
		line = append(append(line, event...), '}', '\n')
		_, outErr = env.Stdout.Write(line)
		return outErr
	})
	if err != nil && !errors.Is(err, outErr) {
		return exitf(CodeError, "%w", err)
	}
	return err
}
