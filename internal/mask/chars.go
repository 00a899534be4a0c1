package mask

import "bytes"

func isDigit(b byte) bool { return b-'0' < 10 }
func isAlpha(b byte) bool { return (b|0x20)-'a' < 26 }
func isUpper(b byte) bool { return b-'A' < 26 }
func isLower(b byte) bool { return b-'a' < 26 }
func isAlnum(b byte) bool { return isDigit(b) || isAlpha(b) }
func isHex(b byte) bool   { return isDigit(b) || (b|0x20)-'a' < 6 }

func hexValue(b byte) byte {
	if isDigit(b) {
		return b - '0'
	}
	return (b | 0x20) - 'a' + 10
}

func allDigits(v []byte) bool {
	for _, b := range v {
		if !isDigit(b) {
			return false
		}
	}
	return true
}

func indexByte(v []byte, b byte) int { return bytes.IndexByte(v, b) }
