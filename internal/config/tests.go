package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
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
