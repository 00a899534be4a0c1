package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/doorward/doorward"
)

// copy reads COPY in both directions.
func (a *analyzer) copy(s *pg.CopyStmt, st *doorward.Statement) {
	st.Kind = "COPY"
	if s.GetIsProgram() || s.GetFilename() != "" {
		name := "PROGRAM"
		if !s.GetIsProgram() {
			name = s.GetFilename()
		}
		a.sink.object("file", name, doorward.VerbAdmin)
		a.leaves()
		a.sink.hint = "use COPY ... TO STDOUT: files and programs of the server are out of reach"
	}
	a.copyOptions(s.GetOptions(), st, s.GetIsFrom())
	if s.GetIsFrom() {
		st.Kind, st.Control = "COPY FROM", doorward.ControlCopyIn
		sc := child(nil)
		rel, f := a.target(s.GetRelation(), doorward.VerbCreate, sc)
		cols := fieldNames(s.GetAttlist())
		if len(cols) == 0 && rel != nil {
			cols = rel.columns
		}
		a.writtenColumns(rel, cols)
		sc.froms = append(sc.froms, f)
		a.consume(s.GetWhereClause(), sc)
		a.sink.rows(-1)
		return
	}
	st.Kind, st.Control = "COPY TO", doorward.ControlCopyOut
	if s.GetWhereClause() != nil {
		a.unsure("COPY TO with WHERE is not known to doorward")
	}
	var out rows
	if q := s.GetQuery(); q != nil {
		out = a.top(q, nil)
	} else {
		rel, r := a.open(s.GetRelation(), doorward.VerbRead)
		out = r
		if rel != nil && len(s.GetAttlist()) == 0 {
			for _, g := range rel.columns {
				if rel.types[g] == generatedColumn { // COPY leaves them out
					out = without(out, g)
				}
			}
		}
		if names := fieldNames(s.GetAttlist()); len(names) > 0 {
			out = rows{open: r.open}
			for _, n := range names {
				v, ok := pickColumn(r.cols, n)
				if !ok && !r.open {
					a.unsure("there is no column " + quoteName(n) + " that doorward knows")
				}
				out.cols = append(out.cols, column{n, v})
			}
		}
		for _, c := range out.cols {
			a.reach(c.value)
		}
	}
	a.output(out, st)
	st.Returns = false // rows come as CopyData
	if st.Format != "text" || st.Null == "" || st.Null == `\N` {
		return
	}
	for _, c := range out.cols { // in text, a value that equals the marker cannot be told from NULL
		if c.tainted() {
			a.maskOther(c.value)
			a.sink.hint = "with this NULL marker a masked value could be guessed: leave NULL out, or use FORMAT csv"
		}
	}
}

// generatedColumn marks a column whose value the server computes.
const generatedColumn = "\x00generated"

func without(r rows, name string) rows {
	out := rows{open: r.open}
	for _, c := range r.cols {
		if c.name != name {
			out.cols = append(out.cols, c)
		}
	}
	return out
}

func (a *analyzer) copyOptions(opts []*pg.Node, st *doorward.Statement, from bool) {
	st.Format, st.Delim, st.Null = "text", '\t', `\N`
	delim, null, quote, escape := "", (*string)(nil), "", ""
	for _, n := range opts {
		d := n.GetDefElem()
		v, ok := constantText(d.GetArg())
		switch strings.ToLower(d.GetDefname()) {
		case "format":
			v = strings.ToLower(v)
			if v != "text" && v != "csv" && v != "binary" {
				a.unsure("this COPY format is not known to doorward")
			}
			st.Format = v
		case "delimiter":
			delim = v
		case "null":
			null = &v
		case "quote":
			quote = v
		case "escape":
			escape = v
		case "header":
			st.Header = d.GetArg() == nil || !isFalse(v)
		case "encoding":
			if e := strings.ToLower(v); e != "utf8" && e != "utf-8" && e != "unicode" {
				a.unsure("COPY in an encoding other than UTF8 is not understood: leave ENCODING out")
			}
			ok = true
		case "freeze", "on_error", "log_verbosity", "reject_limit":
			if !from {
				a.unsure("this COPY option is not known to doorward")
			}
			ok = true
		case "force_quote", "force_not_null", "force_null":
			ok = true
		case "default":
			if !from {
				a.unsure("this COPY option is not known to doorward")
			}
		case "oids":
			a.unsure("COPY WITH OIDS is not understood")
		default:
			a.unsure("the COPY option " + quoteName(d.GetDefname()) + " is not known to doorward")
		}
		if !ok && d.GetArg() != nil {
			a.unsure("this COPY option is not known to doorward")
		}
	}
	if st.Format == "csv" {
		st.Delim, st.Null, st.Quote, st.Escape = ',', "", '"', '"'
	}
	if delim != "" {
		if len(delim) != 1 {
			a.unsure("a COPY delimiter is one byte")
		}
		st.Delim = delim[0]
	}
	if null != nil {
		st.Null = *null
	}
	if quote != "" {
		st.Quote = quote[0]
		st.Escape = quote[0]
	}
	if escape != "" {
		st.Escape = escape[0]
	}
	if st.Format == "binary" {
		st.Delim, st.Null, st.Header = 0, "", false
	}
}

func isFalse(v string) bool {
	switch strings.ToLower(v) {
	case "off", "false", "0", "no", "f", "n", "of", "fa", "fal", "fals":
		return true
	}
	return false
}
