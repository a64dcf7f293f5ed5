package client

import (
	"context"
	"net/url"

	"robotorq.org/reserve/api"
)

// SimPresets are the scenarios that come with the node's simulator.
func (c *Client) SimPresets(ctx context.Context) (api.List[api.SimPreset], error) {
	return get[api.List[api.SimPreset]](ctx, c, "/simulator/presets", nil)
}

// SimParameters are the parameters of a scenario.
func (c *Client) SimParameters(ctx context.Context) (api.List[api.SimParameter], error) {
	return get[api.List[api.SimParameter]](ctx, c, "/simulator/parameters", nil)
}

// SimRuns are the runs that the node keeps.
func (c *Client) SimRuns(ctx context.Context) (api.List[api.SimRun], error) {
	return get[api.List[api.SimRun]](ctx, c, "/simulator/runs", nil)
}

// SimRun is one run by its id.
func (c *Client) SimRun(ctx context.Context, id string) (api.SimRunDetail, error) {
	return get[api.SimRunDetail](ctx, c, "/simulator/runs/"+url.PathEscape(id), nil)
}

// SimSeries is a page of a run's series, a row a step.
func (c *Client) SimSeries(ctx context.Context, id string, page api.Page) (api.SimSeries, error) {
	return get[api.SimSeries](ctx, c, "/simulator/runs/"+url.PathEscape(id)+"/series", pageQuery(page))
}

// SimCompare compares two to four finished runs.
func (c *Client) SimCompare(ctx context.Context, ids ...string) (api.SimComparison, error) {
	return get[api.SimComparison](ctx, c, "/simulator/compare", url.Values{"run": ids})
}
