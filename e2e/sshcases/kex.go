package sshcases

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// kexInit is SSH_MSG_KEXINIT (RFC 4253, section 7.1).
type kexInit struct {
	Cookie                        [16]byte `sshtype:"20"`
	Kex, HostKey                  []string
	CipherIn, CipherOut           []string
	MACIn, MACOut                 []string
	CompressionIn, CompressionOut []string
	LanguageIn, LanguageOut       []string
	Follows                       bool
	Reserved                      uint32
}

// Names of strict key exchange (OpenSSH PROTOCOL, section 1.10).
const (
	strictClient = "kex-strict-c-v00@openssh.com"
	strictServer = "kex-strict-s-v00@openssh.com"
)

// offered is how a server answered a client with an offer of its own.
type offered struct {
	server kexInit
	strict bool   // the server announces strict key exchange
	cipher string // agreed on; "": nothing in common
	mac    string
	said   []byte // everything that came
}

// affected reports whether the Terrapin attack works on a connection with
// these algorithms and without strict key exchange (CVE-2023-48795).
func (o *offered) affected() bool {
	return o.cipher == "chacha20-poly1305@openssh.com" || strings.HasSuffix(o.cipher, "-cbc") && strings.HasSuffix(o.mac, "-etm@openssh.com")
}

// offer speaks SSH up to the first key exchange, with exactly what k says.
func offer(ctx context.Context, addr string, k *Kex) (*offered, error) {
	raw, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(raw, "SSH-2.0-limited\r\n"); err != nil {
		return nil, err
	}
	in := bufio.NewReader(raw)
	out := &offered{}
	for {
		line, err := in.ReadString('\n')
		out.said = append(out.said, line...)
		if err != nil {
			return nil, fmt.Errorf("no version came: %w", err)
		}
		if strings.HasPrefix(line, "SSH-") {
			break
		}
	}
	first := func(s string, or ...string) []string {
		if s != "" {
			return []string{s}
		}
		return or
	}
	kex := first(k.Kex, "curve25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256")
	if k.Strict == nil || *k.Strict {
		kex = append(slices.Clone(kex), strictClient)
	}
	ciphers := first(k.Cipher, "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
	macs := first(k.MAC, "hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512-etm@openssh.com")
	mine := kexInit{Kex: kex, HostKey: []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"},
		CipherIn: ciphers, CipherOut: ciphers, MACIn: macs, MACOut: macs, CompressionIn: []string{"none"}, CompressionOut: []string{"none"}}
	if _, err := raw.Write(packet(ssh.Marshal(&mine))); err != nil {
		return nil, err
	}
	b, err := readPacket(in)
	out.said = append(out.said, b...)
	if err != nil {
		return nil, fmt.Errorf("no key exchange came: %w", err)
	}
	if err := ssh.Unmarshal(b, &out.server); err != nil {
		return nil, err
	}
	out.strict = slices.Contains(out.server.Kex, strictServer)
	common := func(mine, theirs []string) string {
		for _, a := range mine {
			if slices.Contains(theirs, a) {
				return a
			}
		}
		return ""
	}
	agreed := common(mine.Kex, out.server.Kex) != "" && common(mine.HostKey, out.server.HostKey) != ""
	if agreed {
		out.cipher = common(ciphers, out.server.CipherIn)
		if out.mac = common(macs, out.server.MACIn); out.mac == "" && !strings.Contains(out.cipher, "gcm") && !strings.Contains(out.cipher, "chacha") {
			out.cipher = ""
		}
	}
	if out.cipher == "" {
		// The server has to see it, too, and hang up.
		rest, err := io.ReadAll(io.LimitReader(in, 1<<16))
		out.said = append(out.said, rest...)
		if err != nil && !errors.Is(err, io.EOF) && isTimeout(err) {
			return out, errors.New("the server goes on although there is nothing in common")
		}
	}
	return out, nil
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// packet is a payload as it goes before there are keys (RFC 4253, section 6).
func packet(payload []byte) []byte {
	pad := 8 - (5+len(payload))%8
	if pad < 4 {
		pad += 8
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+pad))
	out = append(out, byte(pad))
	return append(append(out, payload...), make([]byte, pad)...)
}

func readPacket(r io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n < 2 || n > 35000 || uint32(head[4]) > n-1 {
		return nil, fmt.Errorf("a packet of %d bytes with %d of padding", n, head[4])
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body[:len(body)-int(head[4])], nil
}
