package bridge

import (
	"context"
	"fmt"

	"cloudbridge/platforms"
)

// askBudget asks the account for its real limit, once. Less than the plan in the configuration is obeyed; more is not
// taken unasked, for the plan is the user's word. Without an answer the plan stands.
func (c *cloud) askBudget(ctx context.Context) {
	asker, ok := c.platform.(platforms.Budgeter)
	if !ok {
		return
	}
	r := asker.BudgetRequest()
	if r == nil {
		return
	}
	status, body, err := c.http.do(ctx, r)
	if err != nil {
		_, words := readNetwork(err)
		c.b.log.Debug(fmt.Sprintf("%s: ask for the account's limit: %s", c.name, words))
		return
	}
	n, ok := asker.ParseBudget(status, body)
	if !ok || n <= 0 || n >= c.limits.PerMinute {
		return
	}
	c.b.log.Warn(fmt.Sprintf("%s: the account has %d points a minute, not %d as its plan says here: keeping to %d", c.name, n, c.limits.PerMinute, n))
	c.acct.mu.Lock()
	defer c.acct.mu.Unlock()
	c.acct.perMinute = n
	for _, p := range c.acct.pacers {
		p.setPerMinute(n)
	}
}
