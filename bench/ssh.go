package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/sshtest"
)

// sshResult is one large file, read by `ssh host cat` as fast as it comes.
type sshResult struct {
	Way string  `json:"way"`
	MBs float64 `json:"mb_per_second"`
}

const sshFile = 128 << 20

// sshWays measures OpenSSH directly, through a bare relay of x/crypto/ssh in
// this process, and through doorward with and without masking.
func sshWays(ctx context.Context, _ *stage, s settings, r *results) error {
	srv, err := sshtest.Start(ctx, sshtest.Options{})
	if err != nil {
		return err
	}
	defer srv.Stop()
	dir, err := os.MkdirTemp("", "doorward-bench-ssh-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(srv.Dir, "big")
	line := []byte("2026-11-24 10:00:00 worker 7 of ada@corp.example took order 4711 and did what there was to do with it\n")
	if err := os.WriteFile(file, bytes.Repeat(line, sshFile/len(line)+1)[:sshFile], 0o600); err != nil {
		return err
	}
	bare, err := startRelay(srv)
	if err != nil {
		return err
	}
	defer bare.Close()
	host := harness.Host{Name: "plain", Address: srv.Addr(), User: srv.User, Key: srv.Key, HostKeys: []string{srv.HostKey}}
	masked := host
	masked.Name = "masked"
	g, err := harness.Start(ctx, &harness.Config{
		Wait: time.Second, Hosts: []harness.Host{host, masked},
		Users:   []harness.User{{Name: "ada", Password: password, Groups: []string{"engineers"}}},
		Rules:   []any{map[string]any{"name": "all", "targets": []string{"*"}, "then": "allow", "limits": map[string]any{"bytes": "16GiB", "time": "10m"}}},
		Masking: []any{map[string]any{"targets": []string{"masked"}, "detect": []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "PHONE", "IP", "SECRET"}, "operator": "redact"}},
	})
	if err != nil {
		return err
	}
	defer g.Close()
	person, err := g.SignIn(ctx, "ada")
	if err != nil {
		return err
	}
	ask := filepath.Join(dir, "askpass")
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, srv.Key, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(person.Token), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(ask, []byte("#!/bin/sh\ncat "+filepath.Join(dir, "token")+"\n"), 0o700); err != nil {
		return err
	}
	ways := []struct{ name, addr, user string }{
		{"direct", srv.Addr(), srv.User}, {"bare x/crypto/ssh relay", bare.Addr().String(), "bench"},
		{"doorward", g.SSH, "plain"}, {"doorward, masked", g.SSH, "masked"},
	}
	speed := map[string][]float64{}
	for i := range s.runs + 1 { // the first warms up
		for _, w := range ways {
			addr, port, _ := net.SplitHostPort(w.addr)
			cmd := exec.CommandContext(ctx, "ssh", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes",
				"-c", "aes128-gcm@openssh.com", "-i", key, "-p", port, "-l", w.user, addr, "cat "+file)
			cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:0")
			var told strings.Builder
			cmd.Stderr = &told
			out, err := cmd.StdoutPipe()
			if err != nil {
				return err
			}
			start := time.Now()
			if err := cmd.Start(); err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, out)
			if e := cmd.Wait(); err == nil {
				err = e
			}
			if err != nil {
				return fmt.Errorf("%s: %w: %s", w.name, err, told.String())
			}
			if n != sshFile && w.name != "doorward, masked" {
				return fmt.Errorf("%s: %d bytes came, want %d", w.name, n, sshFile)
			}
			if i > 0 {
				speed[w.name] = append(speed[w.name], float64(sshFile)/1e6/time.Since(start).Seconds())
			}
		}
	}
	for _, w := range ways {
		r.SSH = append(r.SSH, sshResult{w.name, median(speed[w.name])})
	}
	return nil
}

// startRelay is the least that ends SSH on both sides: it judges, masks and
// records nothing.
func startRelay(srv *sshtest.Server) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, signer, err := sshtest.NewKey()
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(srv.Key)
	if err != nil {
		return nil, err
	}
	pinned, _, _, _, err := ssh.ParseAuthorizedKey([]byte(srv.HostKey))
	if err != nil {
		return nil, err
	}
	client := &ssh.ClientConfig{User: srv.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(pinned)}
	server := &ssh.ServerConfig{NoClientAuth: true}
	server.AddHostKey(signer)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relayOne(c, server, srv.Addr(), client)
		}
	}()
	return l, nil
}

func relayOne(c net.Conn, server *ssh.ServerConfig, addr string, client *ssh.ClientConfig) {
	defer c.Close()
	_, chans, reqs, err := ssh.NewServerConn(c, server)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for n := range chans {
		up, err := ssh.Dial("tcp", addr, client)
		if err != nil {
			return
		}
		to, back, err := up.OpenChannel("session", nil)
		if err != nil {
			return
		}
		ch, in, err := n.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range in {
				ok, _ := to.SendRequest(r.Type, r.WantReply, r.Payload)
				if r.WantReply {
					_ = r.Reply(ok, nil)
				}
			}
		}()
		go func() { _, _ = io.Copy(to, ch); _ = to.CloseWrite() }()
		go func() { _, _ = io.Copy(ch.Stderr(), to.Stderr()) }()
		go func() {
			_, _ = io.Copy(ch, to)
			for r := range back {
				_, _ = ch.SendRequest(r.Type, false, r.Payload)
			}
			_ = ch.Close()
			_ = up.Close()
		}()
	}
}
