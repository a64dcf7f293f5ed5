package web

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"robotorq.org/reserve/api"
)

// operation is an endpoint as the page of the interface shows it.
type operation struct {
	ID, Method, Path, Summary, Description string
	Parameters                             []*huma.Param
	Authority                              bool // needs a signature or token
	Body                                   bool
	Example                                string // in curl
}

type operationGroup struct {
	Name, Description string
	Operations        []operation
}

func (s *Site) apiPage(*http.Request) (view, error) {
	document := s.options.OpenAPI
	groups := make([]operationGroup, 0, len(document.Tags))
	for _, tag := range document.Tags {
		group := operationGroup{Name: tag.Name, Description: tag.Description}
		for path, item := range document.Paths {
			for method, op := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post} {
				if op != nil && slices.Contains(op.Tags, tag.Name) {
					group.Operations = append(group.Operations, describe(method, path, op))
				}
			}
		}
		slices.SortFunc(group.Operations, func(a, b operation) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
		})
		if len(group.Operations) > 0 {
			groups = append(groups, group)
		}
	}
	return view{Template: "interface", Title: "Interface for programs", Section: "interface", Data: groups}, nil
}

func describe(method, path string, op *huma.Operation) operation {
	return operation{
		ID: op.OperationID, Method: method, Path: path, Summary: op.Summary, Description: op.Description,
		Parameters: op.Parameters, Authority: len(op.Security) > 0, Body: op.RequestBody != nil, Example: api.Example(op),
	}
}
