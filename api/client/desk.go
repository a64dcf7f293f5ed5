package client

import (
	"context"
	"encoding/json"
	"fmt"

	"robotorq.org/reserve/api"
)

// Propose sends an enterprise's signed proposal (DSSE JSON); sending the same one again
// is safe.
func (c *Client) Propose(ctx context.Context, envelope []byte) (api.Contract, error) {
	return post[api.Contract](ctx, c, "/contracts", envelope, nil)
}

// Instruct sends a signed instruction about a contract (DSSE JSON); sending the same one
// again is safe.
func (c *Client) Instruct(ctx context.Context, number uint64, envelope []byte) (api.Contract, error) {
	return post[api.Contract](ctx, c, fmt.Sprintf("/contracts/%d/instructions", number), envelope, nil)
}

// Act has the node's own trust key lead a contract; it takes a token of role admin.
func (c *Client) Act(ctx context.Context, number uint64, action, reason string) (api.Contract, error) {
	body, err := json.Marshal(api.Action{Action: action, Reason: reason})
	if err != nil {
		return api.Contract{}, fmt.Errorf("action: %w", err)
	}
	return post[api.Contract](ctx, c, fmt.Sprintf("/contracts/%d/actions", number), body, nil)
}

// Contracts is one page of the contracts, newest first.
func (c *Client) Contracts(ctx context.Context, page api.Page) (api.List[api.Contract], error) {
	return get[api.List[api.Contract]](ctx, c, "/contracts", pageQuery(page))
}

// Evidence is what was signed about a contract.
func (c *Client) Evidence(ctx context.Context, number uint64) (api.Evidence, error) {
	return get[api.Evidence](ctx, c, fmt.Sprintf("/contracts/%d/evidence", number), nil)
}

// Policies is one page of the history of the reserve's numbers, newest first.
func (c *Client) Policies(ctx context.Context, page api.Page) (api.List[api.PolicyVersion], error) {
	return get[api.List[api.PolicyVersion]](ctx, c, "/policies", pageQuery(page))
}

// PolicyVersion is one version of the policy.
func (c *Client) PolicyVersion(ctx context.Context, version uint64) (api.Policy, error) {
	return get[api.Policy](ctx, c, fmt.Sprintf("/policies/%d", version), nil)
}

// Announce sends a policy that root has signed (DSSE JSON); sending the same one again is
// safe.
func (c *Client) Announce(ctx context.Context, envelope []byte) (api.Policy, error) {
	return post[api.Policy](ctx, c, "/policies", envelope, nil)
}

// Recall sends a signed recall of a certificate (DSSE JSON); sending the same one again
// is safe.
func (c *Client) Recall(ctx context.Context, envelope []byte) (api.Recalled, error) {
	return post[api.Recalled](ctx, c, "/recalls", envelope, nil)
}
