package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/doorward/doorward/internal/classify/http"
	"github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/classify/ssh"
)

// TestFile is the name of the file with cases beside a configuration file:
// doorward.test.yaml beside doorward.yaml.
func TestFile(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".test.yaml"
}

// WithTests adds the cases of the files beside those that c was read from. It
// gives c itself where there is none.
func (c *Config) WithTests() (*Config, error) {
	raws := []*Config{c.raw}
	for _, file := range c.files {
		path := TestFile(file)
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var beside struct {
			Schema string `yaml:"schema"`
			Tests  []Test `yaml:"tests"`
		}
		where, err := decode(path, data, &beside)
		if err != nil {
			return nil, err
		}
		raws = append(raws, &Config{Schema: beside.Schema, Tests: beside.Tests, where: where, files: []string{path}})
	}
	if len(raws) == 1 {
		return c, nil
	}
	return finish(raws)
}

// SchemaPath is the path of the schema file for tests, or "". It is relative
// to the file that names it.
func (c *Config) SchemaPath() string {
	if c.Schema == "" || filepath.IsAbs(c.Schema) {
		return c.Schema
	}
	return filepath.Join(filepath.Dir(c.where.find("schema").file), c.Schema)
}

// TestPlace is where a case was written, as file:line.
func (c *Config) TestPlace(i int) string {
	p := c.where.find(fmt.Sprintf("tests[%d]", i))
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// testRequest wants a case to have one request, of the protocol that its target
// speaks.
func (k *checker) testRequest(path string, t Test) {
	requests := []struct{ key, text string }{{"sql", t.SQL}, {"ssh", t.SSH}, {"kubernetes", t.Kubernetes}, {"http", t.HTTP}}
	var has []string
	for _, r := range requests {
		if r.text != "" {
			has = append(has, r.key)
		}
	}
	switch {
	case len(has) > 1:
		k.bad(path+"."+has[1], "the case has two requests", "make two cases of it")
	case t.SSH != "":
		if _, err := ssh.Parse(t.SSH); err != nil {
			k.bad(path+".ssh", err.Error(), "as in: exec uptime")
		}
	case t.Kubernetes != "":
		// What is not let through is a case too: it is denied.
		if _, err := kubernetes.ParseMessage(t.Kubernetes); err != nil {
			k.bad(path+".kubernetes", err.Error(), "as in: GET /api/v1/namespaces/dev/pods")
		}
	case t.HTTP != "":
		if _, err := http.ParseMessage(t.HTTP); err != nil {
			k.bad(path+".http", err.Error(), "as in: GET /api/v1/orders/17")
		}
	case k.c.Targets[t.Target].SSH != nil:
		k.required(path+".ssh", t.SSH)
	case k.c.Targets[t.Target].Kubernetes != nil:
		k.required(path+".kubernetes", t.Kubernetes)
	case k.c.Targets[t.Target].HTTP != nil:
		k.required(path+".http", t.HTTP)
	default:
		k.required(path+".sql", t.SQL)
	}
}
