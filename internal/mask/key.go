package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// keyer makes keyed digests without allocating. Not for concurrent use.
type keyer struct {
	mac hash.Hash
	sum [sha256.Size]byte
	buf [32]byte
}

func newKeyer(key []byte) *keyer { return &keyer{mac: hmac.New(sha256.New, key)} }

// digest is HMAC-SHA256 of v. The result is valid until the next call.
func (k *keyer) digest(v []byte) []byte {
	k.mac.Reset()
	k.mac.Write(v)
	return k.mac.Sum(k.sum[:0])
}

// number is a digest of v as a number.
func (k *keyer) number(v []byte) uint64 { return binary.BigEndian.Uint64(k.digest(v)) }

// numberOf is the digest of a number as a number.
func (k *keyer) numberOf(n uint64) uint64 {
	return k.number(binary.BigEndian.AppendUint64(k.buf[:0], n))
}

const hexDigits = "0123456789abcdef"

func appendHex(dst, v []byte) []byte {
	for _, b := range v {
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst
}

const base32Digits = "abcdefghijklmnopqrstuvwxyz234567"

// appendWord appends 16 letters and digits made of the first 10 bytes of a digest.
func appendWord(dst, sum []byte) []byte {
	for i := range 2 {
		b := sum[i*5 : i*5+5]
		n := uint64(b[0])<<32 | uint64(b[1])<<24 | uint64(b[2])<<16 | uint64(b[3])<<8 | uint64(b[4])
		for s := 35; s >= 0; s -= 5 {
			dst = append(dst, base32Digits[n>>s&31])
		}
	}
	return dst
}
