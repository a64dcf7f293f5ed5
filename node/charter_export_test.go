package node

import "context"

// OpenOnly opens everything, so that stations would sign from now on, and closes it.
func OpenOnly(ctx context.Context, cfg Config) error {
	n, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	return n.close()
}
