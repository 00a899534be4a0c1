package rawpg

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// scram is the client's side of SCRAM-SHA-256 without channel binding.
type scram struct {
	password  string
	nonce     string
	bare      string
	signature []byte
}

func newScram(password string) *scram {
	b := make([]byte, 18)
	rand.Read(b)
	return &scram{password: password, nonce: base64.StdEncoding.EncodeToString(b)}
}

func (s *scram) first() []byte {
	s.bare = "n=,r=" + s.nonce
	return []byte("n,," + s.bare)
}

func (s *scram) final(server []byte) ([]byte, error) {
	var nonce, salt string
	var rounds int
	for _, f := range strings.Split(string(server), ",") {
		switch {
		case strings.HasPrefix(f, "r="):
			nonce = f[2:]
		case strings.HasPrefix(f, "s="):
			salt = f[2:]
		case strings.HasPrefix(f, "i="):
			rounds, _ = strconv.Atoi(f[2:])
		}
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil || rounds < 1 || !strings.HasPrefix(nonce, s.nonce) {
		return nil, errors.New("the server's SCRAM message makes no sense")
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, raw, rounds, 32)
	if err != nil {
		return nil, err
	}
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	without := "c=biws,r=" + nonce
	auth := s.bare + "," + string(server) + "," + without
	proof := mac(stored[:], auth)
	for i := range proof {
		proof[i] ^= key[i]
	}
	s.signature = mac(mac(salted, "Server Key"), auth)
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (s *scram) verify(server []byte) bool {
	want := "v=" + base64.StdEncoding.EncodeToString(s.signature)
	return s.signature != nil && bytes.Equal(server, []byte(want))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
