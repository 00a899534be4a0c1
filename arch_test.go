package doorward_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/doorward/doorward"

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

// room is the package's folder below the module: "" for the root.
func (p *goPackage) room() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func listPackages(t *testing.T, args ...string) []*goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Dir,Standard,GoFiles,CgoFiles,Imports"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []*goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(goPackage)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		// Some npm packages carry Go code; it is not ours.
		if !strings.Contains(p.ImportPath, "/node_modules/") {
			list = append(list, p)
		}
	}
}

// within reports whether room is one of the trees, or below one.
func within(room string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(t string) bool { return room == t || strings.HasPrefix(room, t+"/") })
}

// rule says what packages in some rooms may import of the module, and what
// they may not import at all.
type rule struct {
	why    string
	rooms  []string
	may    []string // rooms; the root ("") and the package's own tree always
	any    bool     // may import any room but those in not
	not    []string // rooms
	banned []string // import paths outside the module, with all below them
}

// outside is what a pure package has no business with: clock, network, files.
// The clock (time.Now) is looked for in the source: the types of package time
// are fine.
var outside = []string{"net", "os", "io/ioutil", "syscall", "database/sql"}

// pure are below those names and do nothing outside.
var pure = []string{"net/netip", "net/url"}

var rules = []rule{
	{why: "codecs are bytes only and know nothing of ours", rooms: []string{"internal/wire"}, banned: []string{module, "unsafe"}},
	{why: "same input, same answer: the root package only, and no clock, network or files", rooms: []string{"internal/classify", "internal/policy", "internal/mask"}, banned: outside},
	{why: "the gate reaches the other rooms through its ports", rooms: []string{"internal/gate"}, may: []string{"internal/classify", "internal/policy", "internal/mask", "internal/catalog"}},
	{why: "upstream spends the gate's permits", rooms: []string{"internal/upstream"}, may: []string{"internal/gate", "internal/wire", "internal/classify"}},
	{why: "an adapter can only ask the gate and spend permits", rooms: []string{"internal/adapter", "internal/relay", "internal/lane"}, may: []string{"internal/gate", "internal/upstream", "internal/wire", "internal/classify", "internal/relay", "internal/lane"}, banned: []string{"unsafe"}},
	{why: "they satisfy the gate's ports by their shape", rooms: []string{"internal/identity", "internal/review", "internal/replay", "internal/tape", "internal/ledger", "internal/store"}, any: true, not: []string{"internal/gate", "internal/adapter", "internal/relay", "internal/lane", "internal/upstream", "internal/api", "internal/cli", "cmd"}},
	{why: "only cmd/doorward sees all", rooms: []string{"internal/api", "internal/cli", "internal/config"}, any: true, not: []string{"internal/gate", "internal/adapter", "internal/relay", "internal/lane", "internal/upstream", "cmd"}},
	{why: "tests know the product by its process interface only", rooms: []string{"e2e", "bench"}, may: []string{"e2e", "bench"}},
}

// TestImports holds the rules of who may import whom.
func TestImports(t *testing.T) {
	packages := listPackages(t, "./...")
	standard := map[string]bool{}
	for _, p := range listPackages(t, "std") {
		standard[p.ImportPath] = true
	}
	for _, p := range packages {
		room := p.room()
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, module)
			ours = strings.TrimPrefix(ours, "/")
			if room == "" && !standard[imp] {
				t.Errorf("the root package imports %s: it may import the standard library only", imp)
			}
			if room != "" && isOurs && within(ours, "cmd", "e2e", "bench") && !within(room, "e2e", "bench", "cmd") {
				t.Errorf("%s imports %s: nothing of the product imports commands or tests", room, ours)
			}
			for _, r := range rules {
				if !within(room, r.rooms...) {
					continue
				}
				if !slices.Contains(pure, imp) && slices.ContainsFunc(r.banned, func(b string) bool { return imp == b || strings.HasPrefix(imp, b+"/") }) && !sameAdapter(room, ours, isOurs) {
					t.Errorf("%s imports %s: %s", room, imp, r.why)
				}
				if !isOurs || ours == "" || sameRoom(room, ours) || r.rooms[0] == "internal/wire" {
					continue
				}
				if r.any && within(ours, r.not...) || !r.any && !within(ours, r.may...) {
					t.Errorf("%s imports %s: %s", room, ours, r.why)
				}
			}
		}
	}
}

// sameRoom reports whether both packages belong to one room: internal/policy
// and below, but not two adapters.
func sameRoom(a, b string) bool {
	return within(a, head(b)) && within(b, head(a)) && (!within(a, "internal/adapter") || within(a, adapter(b)))
}

// sameAdapter lets a codec import its own parts.
func sameAdapter(room, ours string, isOurs bool) bool {
	return isOurs && ours != "" && within(room, "internal/wire") && within(ours, adapter(room))
}

func head(room string) string    { return cut(room, 2) }
func adapter(room string) string { return cut(room, 3) }

func cut(room string, n int) string {
	parts := strings.Split(room, "/")
	return strings.Join(parts[:min(n, len(parts))], "/")
}

// TestOnlyWiringSeesAll wants the gate, the adapters and upstream to meet the
// other rooms in cmd/doorward alone.
func TestOnlyWiringSeesAll(t *testing.T) {
	for _, p := range listPackages(t, "./...") {
		if within(p.room(), "cmd") || within(p.room(), "internal/adapter", "internal/relay", "internal/lane", "internal/upstream", "internal/gate") {
			continue
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module+"/"); ok && within(ours, "internal/adapter", "internal/relay", "internal/lane", "internal/upstream", "internal/gate") {
				t.Errorf("%s imports %s: only cmd/doorward sees all", p.room(), ours)
			}
		}
	}
}

// TestPackageNames refuses names that say nothing.
func TestPackageNames(t *testing.T) {
	for _, p := range listPackages(t, "./...") {
		if slices.Contains([]string{"common", "util", "utils", "helper", "helpers", "types", "models", "misc", "base", "shared"}, p.Name) {
			t.Errorf("%s: a package called %s says nothing of what it is for", p.ImportPath, p.Name)
		}
	}
}

// TestDocs wants every package to say what it is for in its doc.go. The root
// says it in doorward.go.
func TestDocs(t *testing.T) {
	for _, p := range listPackages(t, "./...") {
		if p.room() == "" || len(p.GoFiles)+len(p.CgoFiles) == 0 {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s has no doc.go that says what it is for and what it must never do: %v", p.room(), err)
			continue
		}
		if strings.TrimSpace(f.Doc.Text()) == "" {
			t.Errorf("%s/doc.go says nothing before its package clause", p.room())
		}
	}
}

// calls that no package of these rooms may make.
var forbiddenCalls = []struct {
	why    string
	rooms  []string
	pkg    string
	prefix []string // of the selector's name
}{
	{"upstream is the only room that dials a target", []string{"internal/adapter", "internal/relay", "internal/lane", "internal/gate"}, "net", []string{"Dial"}},
	{"upstream is the only room that dials a target", []string{"internal/adapter", "internal/relay", "internal/lane", "internal/gate"}, "tls", []string{"Dial"}},
	{"a pure package has no clock", []string{"internal/classify", "internal/policy", "internal/mask"}, "time", []string{"Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker", "Sleep"}},
}

// TestCalls looks for calls that the import rules cannot see.
func TestCalls(t *testing.T) {
	for _, p := range listPackages(t, "./...") {
		for _, file := range append(slices.Clone(p.GoFiles), p.CgoFiles...) {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			names := map[string]string{} // what the file calls the packages it imports
			for _, imp := range f.Imports {
				path, _ := strconv.Unquote(imp.Path.Value)
				name := path[strings.LastIndexByte(path, '/')+1:]
				if imp.Name != nil {
					name = imp.Name.Name
				}
				names[name] = path[strings.LastIndexByte(path, '/')+1:]
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if !ok {
					return true
				}
				for _, c := range forbiddenCalls {
					if within(p.room(), c.rooms...) && names[x.Name] == c.pkg && slices.ContainsFunc(c.prefix, func(pre string) bool { return strings.HasPrefix(sel.Sel.Name, pre) }) {
						t.Errorf("%s/%s uses %s.%s: %s", p.room(), file, x.Name, sel.Sel.Name, c.why)
					}
				}
				return true
			})
		}
	}
}

// TestFileLength keeps files readable.
func TestFileLength(t *testing.T) {
	const limit = 800
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == "dist" || name == "testdata" || (strings.HasPrefix(name, ".") && path != ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".ts" && ext != ".tsx" {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n := 0
		s := bufio.NewScanner(f)
		s.Buffer(nil, 16<<20)
		for s.Scan() {
			n++
			if n == 1 && strings.HasPrefix(s.Text(), "// Code generated ") {
				return nil
			}
		}
		if n > limit {
			t.Errorf("%s has %d lines: more than %d means that it is about more than one thing", path, n, limit)
		}
		return s.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}
