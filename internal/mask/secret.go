package mask

import "bytes"

// alphabet is what the rest of a secret is made of.
type alphabet uint8

const (
	ofAlnum   alphabet = iota
	ofToken            // letters, digits, _ and -
	ofUpper            // capital letters and digits
	ofHex              //
	ofDotted           // ofToken and .
	ofBase64           // letters, digits, + / =
	ofParts            // JSON Web Token: ofToken in two to five parts with dots
	alphabets int      = iota
)

// maxParts is the most dots in a token of parts.
const maxParts = 4

// form is a secret that its first letters give away.
type form struct {
	prefix   string
	of       alphabet
	min, max int // length after the prefix; max 0: no bound
}

var forms = func() (t [256][]form) {
	for _, f := range []form{
		{"AKIA", ofUpper, 16, 16}, {"ASIA", ofUpper, 16, 16}, {"ABIA", ofUpper, 16, 16}, {"ACCA", ofUpper, 16, 16},
		{"ghp_", ofAlnum, 30, 0}, {"gho_", ofAlnum, 30, 0}, {"ghu_", ofAlnum, 30, 0}, {"ghs_", ofAlnum, 30, 0}, {"ghr_", ofAlnum, 30, 0},
		{"github_pat_", ofToken, 22, 0},
		{"glpat-", ofDotted, 20, 0}, {"gldt-", ofToken, 20, 0}, {"glrt-", ofDotted, 20, 0}, {"glptt-", ofToken, 20, 0}, {"glcbt-", ofToken, 20, 0}, {"glft-", ofToken, 20, 0}, {"glsoat-", ofToken, 20, 0},
		{"xoxb-", ofToken, 10, 0}, {"xoxa-", ofToken, 10, 0}, {"xoxp-", ofToken, 10, 0}, {"xoxr-", ofToken, 10, 0}, {"xoxs-", ofToken, 10, 0}, {"xoxe-", ofToken, 10, 0}, {"xoxe.xoxp-", ofToken, 10, 0}, {"xoxe.xoxb-", ofToken, 10, 0}, {"xoxo-", ofToken, 10, 0}, {"xoxc-", ofToken, 10, 0}, {"xoxd-", ofToken, 10, 0}, {"xapp-", ofToken, 10, 0},
		{"sk_live_", ofAlnum, 10, 0}, {"sk_test_", ofAlnum, 10, 0}, {"rk_live_", ofAlnum, 10, 0}, {"rk_test_", ofAlnum, 10, 0}, {"whsec_", ofBase64, 16, 0},
		{"AIza", ofToken, 35, 35}, {"ya29.", ofDotted, 20, 0}, {"GOCSPX-", ofToken, 20, 0}, {"1//0", ofToken, 30, 0},
		{"npm_", ofAlnum, 30, 0}, {"pypi-", ofToken, 32, 0}, {"rubygems_", ofHex, 32, 0}, {"dckr_pat_", ofToken, 20, 0},
		{"eyJ", ofParts, 17, 0},
		{"sk-ant-", ofToken, 20, 0}, {"sk-proj-", ofToken, 20, 0}, {"sk-", ofToken, 32, 0}, {"hf_", ofAlnum, 30, 0}, {"gsk_", ofAlnum, 30, 0}, {"pplx-", ofAlnum, 30, 0}, {"r8_", ofAlnum, 30, 0},
		{"SG.", ofDotted, 40, 0}, {"key-", ofHex, 32, 32}, {"xkeysib-", ofToken, 32, 0},
		{"dop_v1_", ofHex, 32, 0}, {"doo_v1_", ofHex, 32, 0}, {"dor_v1_", ofHex, 32, 0},
		{"shpat_", ofHex, 32, 0}, {"shpss_", ofHex, 32, 0}, {"shpca_", ofHex, 32, 0}, {"shppa_", ofHex, 32, 0},
		{"sq0atp-", ofToken, 20, 0}, {"sq0csp-", ofToken, 20, 0}, {"EAAA", ofToken, 56, 0},
		{"hvs.", ofToken, 20, 0}, {"hvb.", ofToken, 20, 0}, {"hvr.", ofToken, 20, 0},
		{"lin_api_", ofAlnum, 30, 0}, {"ntn_", ofAlnum, 30, 0}, {"sbp_", ofHex, 32, 0}, {"figd_", ofToken, 30, 0}, {"PMAK-", ofToken, 30, 0},
		{"tskey-", ofToken, 20, 0}, {"dapi", ofHex, 32, 0}, {"ATATT3", ofBase64, 30, 0}, {"ATBB", ofAlnum, 30, 0}, {"CFPAT-", ofToken, 30, 0}, {"NRAK-", ofUpper, 20, 0},
		{"SK", ofHex, 32, 32}, {"glsa_", ofToken, 32, 0}, {"glc_", ofBase64, 32, 0}, {"sntrys_", ofBase64, 32, 0}, {"pul-", ofHex, 40, 0}, {"dp.pt.", ofAlnum, 30, 0}, {"AGE-SECRET-KEY-1", ofUpper, 50, 0},
	} {
		t[f.prefix[0]] = append(t[f.prefix[0]], f)
	}
	return t
}()

func (a alphabet) has(c byte) bool {
	switch a {
	case ofAlnum:
		return isAlnum(c)
	case ofUpper:
		return isUpper(c) || isDigit(c)
	case ofHex:
		return isHex(c)
	case ofDotted, ofParts:
		return classes[c]&isToken != 0 || c == '.'
	case ofBase64:
		return isAlnum(c) || c == '+' || c == '/' || c == '=' || c == '_' || c == '-'
	}
	return classes[c]&isToken != 0
}

// prefixed gives the end of a secret of a known form at p, or 0.
func (s *search) prefixed(p int) int {
	b := s.b
	for i := range forms[b[p]] {
		f := &forms[b[p]][i]
		if !hasPrefixAt(b, p, f.prefix) {
			continue
		}
		if c := s.before(p); isAlnum(c) && s.escaped(p-1) != p {
			continue
		}
		at := p + len(f.prefix)
		if at < s.dull[f.of] {
			continue
		}
		end := at
		digits, dots, dot := 0, 0, 0
		for end < len(b) && f.of.has(b[end]) && (f.max == 0 || end-at <= f.max) {
			if isDigit(b[end]) {
				digits++
			} else if b[end] == '.' {
				if dots++; dots == 1 {
					dot = end
				} else if f.of == ofParts && dots > maxParts {
					break
				}
			}
			end++
		}
		run := end
		for end > at && b[end-1] == '.' { // the end of a sentence
			end--
			dots--
		}
		switch {
		case f.of == ofParts && dots > maxParts:
			s.dull[f.of] = dot // whatever begins before the first dot has as many
			continue
		case f.of == ofParts && dots < 1, digits == 0 && f.of != ofUpper && f.of != ofParts:
			s.dull[f.of] = run
			continue
		}
		if end-at < f.min || f.max > 0 && (end-at > f.max || classes[s.peek(end)]&isWord != 0) {
			continue
		}
		return end
	}
	return 0
}

var (
	pemBegin = "-----BEGIN "
	pemEnd   = []byte("-----END ")
	pemWord  = []byte("PRIVATE KEY")
)

// dash looks at what a dash can stand in: a private key, a known form of
// secret, a MAC address that begins with letters, an option of a command.
func (s *search) dash(i int) int {
	b := s.b
	if s.peek(i+1) == '-' {
		if hasPrefixAt(b, i, pemBegin) {
			return s.pem(i)
		}
		if isAlpha(s.peek(i+2)) && classes[s.before(i)]&isToken == 0 {
			return s.option(i + 2)
		}
		end := i + 2
		for s.peek(end) == '-' {
			end++
		}
		if hasPrefixAt(b, end-5, pemBegin) {
			return end - 5
		}
		return end
	}
	start := s.escaped2(s.runStart(i, isWord), i)
	n := i - start
	if n == 2 && isHex(b[start]) && isHex(b[start+1]) && isHex(s.peek(i+1)) {
		if end := s.hexGroups(start); end > 0 {
			return end
		}
	}
	if n >= 2 && n <= 7 && s.wanted.has(kindSecret) && len(forms[b[start]]) > 0 {
		if end := s.prefixed(start); end > 0 {
			return s.add(kindSecret, start, end)
		}
	}
	return i + 1
}

// escaped2 is escaped for a word that may be empty.
func (s *search) escaped2(start, end int) int {
	if start < end {
		return min(s.escaped(start), end)
	}
	return start
}

// pem looks at a block of a private key. One without an end goes to the end of
// the text: better too much than half a key.
func (s *search) pem(i int) int {
	b := s.b
	head := i + len(pemBegin)
	if !bytes.Contains(b[head:min(head+40, len(b))], pemWord) {
		return head
	}
	k := bytes.Index(b[head:], pemEnd)
	if k < 0 {
		return s.add(kindSecret, i, len(b))
	}
	end := head + k + len(pemEnd)
	for end < len(b) && (isAlnum(b[end]) || b[end] == ' ') {
		end++
	}
	for n := 0; n < 5 && s.peek(end) == '-'; n++ {
		end++
	}
	return s.add(kindSecret, i, end)
}

// option looks at the value of an option such as "--password x".
func (s *search) option(i int) int {
	end := s.runEnd(i, isToken)
	if s.peek(end) != ' ' || secretName(s.b[i:end]) == nameNone {
		return end
	}
	if e := s.secretValue(end+1, secretName(s.b[i:end]), '='); e > 0 {
		return e
	}
	return end
}

// tag looks at the text of an element such as <password>x</password>.
func (s *search) tag(i int) int {
	if !s.wanted.has(kindSecret) {
		return i + 1
	}
	start := s.runStart(i, isToken)
	if start == i || i-start > maxName || s.before(start) != '<' {
		return i + 1
	}
	if lv := secretName(s.b[start:i]); lv != nameNone {
		if e := s.secretValue(i+1, lv, '='); e > 0 {
			return e
		}
	}
	return i + 1
}

// assigned looks at the value after a name and : or = at i.
func (s *search) assigned(i int) int {
	if !s.wanted.has(kindSecret) {
		return i + 1
	}
	b := s.b
	p := i
	for n := 0; p > s.from && n < 4 && (b[p-1] == ' ' || b[p-1] == '"' || b[p-1] == '\'' || b[p-1] == '\\' || b[p-1] == ':'); n++ {
		p--
	}
	start := p
	for start > s.from && p-start < maxName && (classes[b[start-1]]&isToken != 0 || b[start-1] == '.') {
		start--
	}
	if p-start < 3 {
		return i + 1
	}
	lv := secretName(b[start:p])
	if lv == nameNone {
		return i + 1
	}
	at := i + 1
	if c := s.peek(at); c == '=' || c == '>' {
		at++
	}
	if end := s.secretValue(at, lv, b[i]); end > 0 {
		return end
	}
	return i + 1
}

// How much a name says that its value is a secret.
const (
	nameNone     = iota
	nameKey      // "key": only what looks random
	nameToken    // token, secret, api_key
	namePassword // password: nearly anything
	nameAuth     // authorization: a scheme and a credential
)

// secretName classifies the name of a value.
func secretName(name []byte) int {
	var v [maxName]byte
	n := 0
	for _, c := range name {
		if isAlpha(c) && n < len(v) {
			v[n] = c | 0x20
			n++
		}
	}
	w := v[:n]
	if n < 3 {
		return nameNone
	}
	// Most names end here: look at the last letter before anything else.
	switch w[n-1] {
	case 'd', 's', 't', 'n', 'y', 'e', 'h', 'g', 'r', 'l':
	default:
		return nameNone
	}
	level := nameNone
	switch {
	case contains(w, "password"), contains(w, "passwd"), contains(w, "passphrase"), ends(w, "pwd"), ends(w, "userpass"), ends(w, "dbpass"), n == 4 && ends(w, "pass"):
		level = namePassword
	case ends(w, "authorization"):
		return nameAuth
	case contains(w, "secret"), contains(w, "token"), contains(w, "apikey"), contains(w, "accesskey"), contains(w, "privatekey"), contains(w, "authkey"), contains(w, "signingkey"), contains(w, "encryptionkey"), contains(w, "accountkey"), contains(w, "sharedkey"), contains(w, "credential"), ends(w, "bearer"):
		level = nameToken
	case ends(w, "key"):
		level = nameKey
	default:
		return nameNone
	}
	for _, x := range [...]string{"tokens", "type", "reset", "policy", "length", "enabled", "required", "changed", "expires", "expiry", "expiresin", "expiration", "at", "url", "uri", "endpoint", "hint", "count", "limit", "size", "file", "path", "field", "name", "age", "username", "publickey", "primarykey", "foreignkey"} {
		if ends(w, x) {
			return nameNone
		}
	}
	return level
}

func contains(w []byte, x string) bool {
	for i := 0; i+len(x) <= len(w); i++ {
		if w[i] == x[0] && string(w[i:i+len(x)]) == x {
			return true
		}
	}
	return false
}

func ends(w []byte, x string) bool { return len(w) >= len(x) && string(w[len(w)-len(x):]) == x }

// Bounds of a value after a name: in quotes, and without.
const (
	maxSecret = 8192
	maxBare   = 1024
)

// secretValue looks at the value at i of a name of some level. It gives the
// end of the finding, or 0.
func (s *search) secretValue(i, level int, sep byte) int {
	b := s.b
	for n := 0; n < 4 && s.peek(i) == ' '; n++ {
		i++
	}
	slashes := 0
	for s.peek(i) == '\\' && slashes < 8 {
		i++
		slashes++
	}
	quote := s.peek(i)
	end := 0
	switch quote {
	case '"', '\'', '`':
		i++
		for end = i; end < len(b) && end-i < maxSecret; end++ {
			if b[end] == quote && (slashes > 0 || b[end-1] != '\\') || b[end] == '\n' {
				break
			}
		}
		for slashes > 0 && end > i && b[end-1] == '\\' {
			end--
		}
	default:
		if slashes > 0 {
			return 0
		}
		quote = 0
	}
	if level == nameAuth {
		limit := len(b)
		if quote != 0 {
			limit = end
		}
		sp := i
		for sp < limit && (isAlpha(b[sp]) || b[sp] == '-') {
			sp++
		}
		if sp == i || sp-i > 20 || sp+1 >= limit || b[sp] != ' ' {
			level = nameToken
		} else {
			i, level = sp+1, namePassword
			if quote == 0 {
				sep = '='
			}
		}
	}
	if quote == 0 {
		for end = i; end < len(b) && end-i < maxBare && classes[b[end]]&isValue != 0; end++ {
		}
		if end > i && (b[end-1] == '.' || b[end-1] == ':') {
			end--
		}
	}
	if end <= i || !secretLike(b[i:end], level, quote != 0, sep) {
		return 0
	}
	return s.add(kindSecret, i, end)
}

// secretLike decides whether a value is a secret, by how much its name says.
func secretLike(v []byte, level int, quoted bool, sep byte) bool {
	letters, digits, capitals, others, spaces := 0, 0, 0, 0, 0
	var seen [256]bool
	distinct := 0
	for _, c := range v {
		switch {
		case isDigit(c):
			digits++
		case isAlpha(c):
			letters++
			if isUpper(c) {
				capitals++
			}
		case c == ' ':
			spaces++
		default:
			others++
		}
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	if v[0] == '$' && len(v) > 1 && (v[1] == '{' || v[1] == '(' || isUpper(v[1])) || v[0] == '{' || v[0] == '<' || v[0] == '[' || v[0] == '%' && len(v) > 1 && v[1] == '(' || v[0] == '(' {
		return false // a place to fill in
	}
	if distinct <= 2 || contains(v, "://") {
		return false
	}
	var w [16]byte
	switch string(fold(&w, v)) {
	case "true", "false", "null", "none", "nil", "undefined", "required", "changed", "invalid", "expired", "missing", "redacted", "hidden", "string", "text", "varchar", "password", "unknown", "default", "incorrect":
		return false
	}
	switch level {
	case namePassword:
		switch {
		case quoted:
			return len(v) >= 4 && spaces <= 8
		case sep == '=':
			return len(v) >= 4
		}
		return len(v) >= 6 && (digits > 0 || others > 0 || capitals > 1 && capitals < letters)
	case nameToken:
		if spaces > 0 || contains(v, "@") {
			return false
		}
		return len(v) >= 8 && letters > 0 && digits > 0 && distinct >= 6 || len(v) >= 20 && distinct >= 10 && letters > 0
	case nameKey:
		return spaces == 0 && len(v) >= 20 && letters > 0 && digits > 0 && distinct >= 10 && others <= 4
	}
	return false
}
