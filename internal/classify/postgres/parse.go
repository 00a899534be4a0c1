package postgres

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Limits on one request text. The parser is C code that recurses over the
// tree without a limit of its own: 20,000 levels were measured to be safe and
// 100,000 to end the process, so that a text is kept well below.
const (
	MaxText       = 1 << 20 // bytes
	MaxStatements = 100
	maxDepth      = 4000     // levels that a text's tokens can build
	shortText     = 16 << 10 // bytes: cannot build a dangerous depth
)

// ErrLimit is wrapped by errors that say that a text is over a limit.
var ErrLimit = errors.New("over the limits of what doorward reads")

var parsing = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)))

func checkText(text string) error {
	if len(text) > MaxText {
		return fmt.Errorf("the statement text is %d bytes long, %d are read at most: send smaller statements, or COPY for data: %w", len(text), MaxText, ErrLimit)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("the statement text has a NUL byte at offset %d: leave it out", i)
	}
	if !utf8.ValidString(text) {
		return errors.New("the statement text is not valid UTF-8: send it with client_encoding UTF8")
	}
	if strings.ContainsRune(text, '\uFEFF') {
		return errors.New("the statement text has a byte-order mark (U+FEFF), which may hide a keyword: leave it out")
	}
	return nil
}

// parse gives the tree of a request text.
func parse(text string) (*pg.ParseResult, error) {
	tree, err := parseSchema(text)
	if err != nil {
		return nil, err
	}
	if n := len(tree.GetStmts()); n > MaxStatements {
		return nil, fmt.Errorf("the text holds %d statements, %d are read at most: send them in parts: %w", n, MaxStatements, ErrLimit)
	}
	return tree, nil
}

// parseSchema is parse without a limit on the number of statements. At most one
// parse runs for each processor.
func parseSchema(text string) (tree *pg.ParseResult, err error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	parsing <- struct{}{}
	defer func() {
		<-parsing
		if p := recover(); p != nil {
			tree, err = nil, errors.New("the statement could not be parsed: simplify it")
		}
	}()
	if len(text) > shortText {
		if err := checkDepth(text); err != nil {
			return nil, err
		}
	}
	tree, err = pg.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the statement does not parse: %w", err)
	}
	if tree == nil {
		return nil, errors.New("the statement could not be parsed: simplify it")
	}
	return tree, nil
}

// checkDepth bounds the depth of the tree by the tokens that can deepen it,
// as the server's own scanner finds them. It errs on the side of refusing.
func checkDepth(text string) error {
	scan, err := pg.Scan(text)
	if err != nil {
		return fmt.Errorf("the statement does not parse: %w", err)
	}
	type level struct{ chain, joins int }
	stack := []level{{}}
	sum := 0
	for _, t := range scan.GetTokens() {
		top := &stack[len(stack)-1]
		switch t.GetToken() {
		case pg.Token_ASCII_40, pg.Token_ASCII_91: // ( [
			stack = append(stack, level{})
			sum++
		case pg.Token_ASCII_41, pg.Token_ASCII_93: // ) ]
			if len(stack) > 1 {
				sum -= top.chain + top.joins + 1
				stack = stack[:len(stack)-1]
			}
		case pg.Token_ASCII_44: // ,
			sum -= top.chain
			top.chain = 0
		case pg.Token_ASCII_59: // ;
			sum -= top.chain + top.joins
			top.chain, top.joins = 0, 0
		case pg.Token_ASCII_46, pg.Token_ASCII_61, pg.Token_ASCII_60, pg.Token_ASCII_62,
			pg.Token_LESS_EQUALS, pg.Token_GREATER_EQUALS, pg.Token_NOT_EQUALS,
			pg.Token_AND, pg.Token_OR, pg.Token_IDENT, pg.Token_SCONST, pg.Token_ICONST,
			pg.Token_FCONST, pg.Token_PARAM, pg.Token_BCONST, pg.Token_XCONST,
			pg.Token_SQL_COMMENT, pg.Token_C_COMMENT:
		case pg.Token_UNION, pg.Token_INTERSECT, pg.Token_EXCEPT, pg.Token_JOIN, pg.Token_SELECT,
			pg.Token_WITH, pg.Token_CASE, pg.Token_WHEN, pg.Token_ELSE, pg.Token_LATERAL_P:
			top.joins++
			sum++
		default:
			top.chain++
			sum++
		}
		if sum > maxDepth {
			return fmt.Errorf("the statement is nested too deeply near byte %d: simplify it: %w", t.GetStart(), ErrLimit)
		}
	}
	return nil
}
