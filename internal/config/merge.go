package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// merge joins configurations as they were read. Positions go along.
func merge(raws []*Config) (*Config, Problems) {
	if len(raws) == 1 {
		return raws[0], nil
	}
	out := &Config{where: index{}}
	m := &merger{out: out}
	for _, in := range raws {
		m.in = in
		out.files = append(out.files, in.files...)
		m.structure(reflect.ValueOf(out).Elem(), reflect.ValueOf(in).Elem(), "", "")
	}
	return out, m.problems
}

type merger struct {
	out, in  *Config
	problems Problems
}

// structure merges field by field. to and from are the paths in out and in.
func (m *merger) structure(out, in reflect.Value, to, from string) {
	_, at := fieldsOf(in.Type())
	for _, name := range slices.Sorted(maps.Keys(at)) {
		m.value(out.Field(at[name]), in.Field(at[name]), join(to, name), join(from, name))
	}
}

func (m *merger) value(out, in reflect.Value, to, from string) {
	switch {
	case in.IsZero():
	case in.Kind() == reflect.Slice && in.Type().Elem().Kind() == reflect.Struct:
		m.list(out, in, to, from)
	case in.Kind() == reflect.Map:
		m.named(out, in, to, from)
	case in.Kind() == reflect.Struct && in.Type() != secretType:
		m.place(to, from)
		m.structure(out, in, to, from)
	case out.IsZero():
		out.Set(in)
		m.places(to, from)
	case !reflect.DeepEqual(out.Interface(), in.Interface()):
		first := m.out.where.find(to)
		m.problems = append(m.problems, m.in.where.problem(from,
			fmt.Sprintf("this is set differently in %s, line %d", first.file, first.line), "say it in one of the files only"))
	}
}

// list appends what is not there yet.
func (m *merger) list(out, in reflect.Value, to, from string) {
	m.place(to, from)
	for i := range in.Len() {
		entry := in.Index(i)
		known := false
		for j := range out.Len() {
			known = known || reflect.DeepEqual(out.Index(j).Interface(), entry.Interface())
		}
		if known {
			continue
		}
		m.places(fmt.Sprintf("%s[%d]", to, out.Len()), fmt.Sprintf("%s[%d]", from, i))
		// A fresh array: the inputs must stay as they are.
		grown := reflect.MakeSlice(out.Type(), 0, out.Len()+1)
		out.Set(reflect.Append(reflect.AppendSlice(grown, out), entry))
	}
}

// named merges maps by key: the same key has to hold the same.
func (m *merger) named(out, in reflect.Value, to, from string) {
	m.place(to, from)
	made := reflect.MakeMap(in.Type())
	for _, k := range out.MapKeys() {
		made.SetMapIndex(k, out.MapIndex(k))
	}
	for _, k := range in.MapKeys() {
		sub, subFrom := join(to, k.String()), join(from, k.String())
		have := made.MapIndex(k)
		switch {
		case !have.IsValid():
			made.SetMapIndex(k, in.MapIndex(k))
			m.places(sub, subFrom)
		case !reflect.DeepEqual(have.Interface(), in.MapIndex(k).Interface()):
			first := m.out.where.find(sub)
			m.problems = append(m.problems, m.in.where.problem(subFrom,
				fmt.Sprintf("%s is set differently in %s, line %d", k.String(), first.file, first.line), "say it in one of the files, or the same in both"))
		}
	}
	out.Set(made)
}

// place takes over the position of one path, if there is none yet.
func (m *merger) place(to, from string) {
	if _, ok := m.out.where[to]; !ok {
		if p, ok := m.in.where[from]; ok {
			m.out.where[to] = p
		}
	}
}

// places takes over the positions of a path and of all that is below it.
func (m *merger) places(to, from string) {
	for path, p := range m.in.where {
		if rest, ok := strings.CutPrefix(path, from); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			m.out.where[to+rest] = p
		}
	}
}
