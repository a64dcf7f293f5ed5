// Package deploy_test holds what brings a reserve up elsewhere against what can be
// known of it here: there is no Docker in the tests.
package deploy_test

import (
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// instruction is one of a Dockerfile, its continuations joined.
type instruction struct{ name, rest string }

func mustDockerfile(t *testing.T) (all []instruction) {
	t.Helper()
	text := strings.ReplaceAll(string(mustRead(t, "Dockerfile")), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		all = append(all, instruction{name, strings.TrimSpace(rest)})
	}
	return all
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var (
	pinned  = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+(\.[0-9]+)?(-[a-z0-9]+)?$`)
	nobody  = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`)
	dockers = []string{"FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
)

// list reads the exec form of an instruction.
func list(t *testing.T, rest string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(rest[strings.Index(rest+"[", "["):]), &words); err != nil || len(words) == 0 {
		t.Fatalf("%q is no list of words: %v", rest, err)
	}
	return words
}

func TestTheImageIsPinnedIsNobodysAndTellsItsHealth(t *testing.T) {
	last := map[string]string{}
	stages := 0
	for _, i := range mustDockerfile(t) {
		if !slices.Contains(dockers, i.name) {
			t.Errorf("%s is none of %v", i.name, dockers)
		}
		words := strings.Fields(i.rest)
		switch i.name {
		case "FROM":
			stages++
			clear(last) // what a stage before said does not hold for this one
			if words[0] != "scratch" && !pinned.MatchString(words[0]) {
				t.Errorf("%s has no version", words[0])
			}
			if version, ok := strings.CutPrefix(words[0], "golang:"); ok && !strings.HasPrefix(goVersion(t), strings.SplitN(version, "-", 2)[0]) {
				t.Errorf("the image builds with Go %s, go.mod wants %s", version, goVersion(t))
			}
		case "COPY":
			for _, word := range words[:len(words)-1] {
				if strings.HasPrefix(i.rest, "--from=") || strings.HasPrefix(word, "--") {
					continue
				}
				if _, err := os.Stat(filepath.Join("..", word)); err != nil {
					t.Error(err)
				}
			}
		}
		last[i.name] = i.rest
	}
	if stages != 2 || !nobody.MatchString(last["USER"]) {
		t.Errorf("%d stages, user %q", stages, last["USER"])
	}
	health, command := list(t, last["HEALTHCHECK"]), list(t, last["CMD"])
	if entry := list(t, last["ENTRYPOINT"]); health[0] != entry[0] {
		t.Errorf("%s asks for the health of %s", health[0], entry[0])
	}
	if port := last["EXPOSE"]; !slices.Contains(command, "0.0.0.0:"+port) || !strings.HasSuffix(health[len(health)-1], ":"+port) {
		t.Errorf("port %s, command %q, health %q", port, command, health)
	}
	if volume := last["VOLUME"]; !slices.Contains(command, volume) {
		t.Errorf("volume %s, command %q", volume, command)
	}
}

func goVersion(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mustRead(t, "../go.mod"))
	if found == nil {
		t.Fatal("go.mod says no version")
	}
	return string(found[1])
}

// compose is what is asked of a compose file.
type compose struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Context, Dockerfile string }
		Command     []string
		Ports       []string
		Volumes     []string
		Environment map[string]string
		DependsOn   []string `yaml:"depends_on"`
	}
	Volumes map[string]any
}

func mustCompose(t *testing.T) (c compose) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions(mustRead(t, "compose.yaml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheComposeFileIsOfTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("testdata/compose-spec.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			return err
		}
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
		if err != nil {
			return err
		}
		return schema.Validate(document)
	}
	text := string(mustRead(t, "compose.yaml"))
	if err := check(text); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][2]string{{"restart:", "restarts:"}, {"cap_drop: [ALL]", "cap_drop: ALL"}, {"depends_on: [reserve]", "depends_on: 7"}} {
		if check(strings.Replace(text, wrong[0], wrong[1], 1)) == nil {
			t.Errorf("%s passes", wrong[1])
		}
	}
}

// Every service, volume, file and port that the compose file names is there.
func TestWhatTheComposeFileNamesExists(t *testing.T) {
	c := mustCompose(t)
	used := map[string]bool{}
	inside := map[string]string{} // a directory of a container: where it lies here
	for name, s := range c.Services {
		if s.Image != "" && !pinned.MatchString(s.Image) {
			t.Errorf("%s: %s has no version", name, s.Image)
		}
		if s.Build.Context != "" {
			if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s waits for %s, which is none", name, other)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: %s is open to the network", name, port)
			}
		}
		for _, v := range s.Volumes {
			from, to, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, "./") {
				if _, ok := c.Volumes[from]; !ok {
					t.Errorf("%s: no volume %s", name, from)
				}
				used[from] = true
				continue
			}
			to, _, _ = strings.Cut(to, ":")
			inside[to] = from
			if !strings.HasSuffix(v, ":ro") {
				t.Errorf("%s: %s can be written", name, v)
			}
			if found, err := os.ReadDir(from); err != nil || len(found) == 0 {
				t.Errorf("%s: nothing in %s (%v)", name, from, err)
			}
		}
	}
	for name := range maps.Keys(c.Volumes) {
		if !used[name] {
			t.Errorf("nobody uses the volume %s", name)
		}
	}
	home := c.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if _, err := os.Stat(filepath.Join(inside[path.Dir(home)], path.Base(home))); err != nil {
		t.Error(err)
	}
	var provider struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := yaml.Unmarshal(mustRead(t, "grafana/provisioning/dashboards/robotorq.yaml"), &provider); err != nil || len(provider.Providers) != 1 {
		t.Fatalf("%v: %+v", err, provider)
	}
	if inside[provider.Providers[0].Options.Path] == "" {
		t.Errorf("Grafana looks for dashboards in %s, where nothing is mounted", provider.Providers[0].Options.Path)
	}
}

// Prometheus finds the reserve, and Grafana finds Prometheus, by the names of their
// services and the ports at which they listen.
func TestTheServicesFindEachOther(t *testing.T) {
	c := mustCompose(t)
	var scraped struct {
		Rules  []string `yaml:"rule_files"`
		Scrape []struct {
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(mustRead(t, "prometheus/prometheus.yml"), &scraped); err != nil {
		t.Fatal(err)
	}
	for _, rules := range scraped.Rules {
		mustRead(t, filepath.Join("prometheus", rules))
	}
	name, port, _ := strings.Cut(scraped.Scrape[0].Static[0].Targets[0], ":")
	reserve, ok := c.Services[name]
	if !ok || !slices.Contains(reserve.Command, "0.0.0.0:"+port) || !slices.Contains(reserve.Command, name) {
		t.Errorf("Prometheus asks %s:%s, the reserve is brought up by %q", name, port, reserve.Command)
	}
	var sources struct{ Datasources []struct{ URL string } }
	if err := yaml.Unmarshal(mustRead(t, "grafana/provisioning/datasources/prometheus.yaml"), &sources); err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(sources.Datasources[0].URL, "http://"), ":")
	if _, ok := c.Services[host]; !ok {
		t.Errorf("Grafana asks %s, which is no service", sources.Datasources[0].URL)
	}
}
