package main

// All lists the dashboards.
func All() []Dashboard { return []Dashboard{pipeline(), reserve(), marketplace(), machine()} }

// quantiles are p50 and p99 of a histogram, by station.
func quantiles(metric, station string) []Query {
	return []Query{
		{"histogram_quantile(0.5, sum by (le) (rate(" + metric + "_bucket[5m])))", station + " p50"},
		{"histogram_quantile(0.99, sum by (le) (rate(" + metric + "_bucket[5m])))", station + " p99"},
	}
}

func concat(lists ...[]Query) (all []Query) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// inRT writes an amount of JT in RT.
func inRT(expr string) string { return expr + " / 3600000" }

func pipeline() Dashboard {
	return Dashboard{
		UID: "robotorq-pipeline", Title: "RoboTorq: the way of the ore", About: "From robots' reports to certificates.",
		Panels: []Panel{
			{Title: "Ore accepted", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_digger_ore_total", ""}}},
			{Title: "Reports accepted", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_digger_reports_total", ""}}},
			{Title: "Ingots poured", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_refinery_ingots_total", ""}}},
			{Title: "Certificates", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_mint_certificates", ""}}},
			{Title: "Ore", About: "Units accepted each second.", Unit: "short", Width: 12, Queries: []Query{{"rate(robotorq_digger_ore_total[1m])", "ore/s"}}},
			{Title: "Reports and ingots", Unit: "cps", Width: 12, Queries: []Query{
				{"rate(robotorq_digger_reports_total[1m])", "reports"}, {"rate(robotorq_refinery_ingots_total[1m])", "ingots"},
			}},
			{Title: "Waiting", About: "Reports for their batch, ingots for their certificate, ore for its ingot (thousands).", Unit: "short", Width: 12, Queries: []Query{
				{"robotorq_digger_pending_reports", "reports"}, {"robotorq_mint_waiting_ingots", "ingots"}, {"robotorq_refinery_open_ore / 1000", "ore, thousands"},
			}},
			{Title: "Refused", About: "Reports void or refused, by rule, and messages between stations.", Unit: "short", Width: 12, Queries: []Query{
				{"sum by (rule) (increase(robotorq_digger_refused_reports_total[5m])) or vector(0)", "report: {{rule}}"},
				{"sum by (rule) (increase(robotorq_refinery_refused_batches_total[5m])) or vector(0)", "batch: {{rule}}"},
				{"sum by (rule) (increase(robotorq_mint_refused_pours_total[5m])) or vector(0)", "pour: {{rule}}"},
			}},
			{Title: "How far consumers are behind", Unit: "short", Width: 12, Queries: []Query{{"robotorq_bus_mark_lag_messages", "{{consumer}} behind {{producer}}"}}},
			{Title: "Outboxes", Unit: "short", Width: 12, Queries: []Query{{"robotorq_bus_outbox_messages", "{{producer}}"}, {"rate(robotorq_bus_resent_messages_total[5m])", "{{producer}} sent again, /s"}}},
			{Title: "Time to verify", About: "A report at the digger, a batch at the refinery, an ingot at the mint.", Unit: "s", Width: 24, Queries: concat(
				quantiles("robotorq_digger_verify_seconds", "digger"), quantiles("robotorq_refinery_verify_seconds", "refinery"), quantiles("robotorq_mint_verify_seconds", "mint"),
			)},
		},
	}
}

func reserve() Dashboard {
	return Dashboard{
		UID: "robotorq-reserve", Title: "RoboTorq: the reserve", About: "Money, and the work behind it.",
		Panels: []Panel{
			{Title: "Supply", Unit: "suffix: RT", Single: true, Width: 6, Queries: []Query{{inRT("robotorq_vault_supply_jt"), ""}}},
			{Title: "Certificates", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_mint_certificates", ""}}},
			{Title: "Members", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_wallet_members", ""}}},
			{Title: "Capital", Unit: "suffix: RT", Single: true, Width: 6, Queries: []Query{{inRT("robotorq_vault_capital_jt"), ""}}},
			{Title: "Where the money lies", Unit: "suffix: RT", Width: 12, Queries: []Query{{inRT("robotorq_vault_holding_jt"), "{{class}}"}}},
			{Title: "Supply and certificates", About: "The two lines are one, but for the moment between minting and posting.", Unit: "suffix: RT", Width: 12, Queries: []Query{
				{inRT("robotorq_vault_supply_jt"), "supply"}, {"robotorq_mint_certificates", "certificates"},
			}},
			{Title: "Dividend and demurrage", About: "Since genesis.", Unit: "suffix: RT", Width: 12, Queries: []Query{
				{inRT("robotorq_vault_dividends_jt_total"), "dividends"}, {inRT("robotorq_vault_demurrage_jt_total"), "demurrage"},
			}},
			{Title: "Postings and orders", Unit: "cps", Width: 12, Queries: []Query{{"rate(robotorq_vault_postings_total[1m])", "postings"}, {"rate(robotorq_wallet_orders_total[1m])", "orders"}}},
			{Title: "Time of an order", About: "Its signatures, and the commit of the books.", Unit: "s", Width: 24, Queries: concat(
				quantiles("robotorq_vault_verify_seconds", "verify"), quantiles("robotorq_vault_commit_seconds", "commit"),
			)},
		},
	}
}

// keptSats is what the coordinator holds of others and of its own.
const keptSats = `sum without (class) (robotorq_market_ledger_sats{class!~"received|paid"})`

func marketplace() Dashboard {
	const sats = "suffix: sats"
	class := func(name string) string { return `robotorq_market_ledger_sats{class="` + name + `"}` }
	return Dashboard{
		UID: "robotorq-market", Title: "RoboTorq: the marketplace", About: "Work for robots, paid in bitcoin. Empty where no marketplace runs.",
		Panels: []Panel{
			{Title: "Open tasks", About: "Paid for, and no robot has claimed them.", Unit: "short", Single: true, Width: 6, Queries: []Query{{`robotorq_market_tasks{status="funded"}`, ""}}},
			{Title: "Disputes", About: "The operator decides.", Unit: "short", Single: true, Width: 6, Queries: []Query{{`robotorq_market_tasks{status="disputed"}`, ""}}},
			{Title: "Payouts under way", About: "Transactions that are not six blocks deep yet.", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_market_sweeps_live", ""}}},
			{Title: "Out of balance", About: "What was received less what was paid less what is kept: nought.", Unit: sats, Single: true, Width: 6, Queries: []Query{
				{"sum(" + class("received") + ") - sum(" + class("paid") + ") - sum(" + keptSats + ")", ""},
			}},
			{Title: "Tasks", Unit: "short", Width: 12, Queries: []Query{{"robotorq_market_tasks", "{{status}}"}}},
			{Title: "Whose the kept sats are", About: "Escrow of tasks, accounts of clients, earnings of robots, in flight, and the coordinator's fees less what miners got.", Unit: sats, Width: 12, Queries: []Query{
				{`robotorq_market_ledger_sats{class!~"received|paid"}`, "{{class}}"},
			}},
			{Title: "Received and paid", About: "Since the beginning.", Unit: sats, Width: 12, Queries: []Query{{class("received"), "received"}, {class("paid"), "paid"}}},
			{Title: "Waiting for a payout", About: "In no transaction yet.", Unit: sats, Width: 12, Queries: []Query{{"robotorq_market_unbound_sats", "{{payee}}s"}}},
			{Title: "Payees that wait", Unit: "short", Width: 12, Queries: []Query{{"robotorq_market_unbound_payees", "{{payee}}s"}}},
			{Title: "Fees left", About: "Miners are paid from them.", Unit: sats, Width: 12, Queries: []Query{{class("fees"), "fees"}}},
		},
	}
}

func machine() Dashboard {
	return Dashboard{
		UID: "robotorq-node", Title: "RoboTorq: the node", About: "The process, its disk and its pages.",
		Panels: []Panel{
			{Title: "Ready", About: "1 when the bus stands, nothing is stopped and there is disk.", Unit: "short", Single: true, Width: 6, Queries: []Query{{"robotorq_node_ready", ""}}},
			{Title: "Up", Unit: "s", Single: true, Width: 6, Queries: []Query{{"robotorq_node_uptime_seconds", ""}}},
			{Title: "Disk left", Unit: "bytes", Single: true, Width: 6, Queries: []Query{{"robotorq_node_disk_free_bytes", ""}}},
			{Title: "Memory", Unit: "bytes", Single: true, Width: 6, Queries: []Query{{"process_resident_memory_bytes", ""}}},
			{Title: "Processor", About: "Seconds of each second.", Unit: "short", Width: 12, Queries: []Query{{"rate(process_cpu_seconds_total[1m])", "process"}}},
			{Title: "Memory", Unit: "bytes", Width: 12, Queries: []Query{{"process_resident_memory_bytes", "resident"}, {"go_memstats_heap_inuse_bytes", "heap in use"}}},
			{Title: "Commits", About: "Time until a commit of a station's books is on disk.", Unit: "s", Width: 12, Queries: concat(
				quantiles("robotorq_digger_commit_seconds", "digger"), quantiles("robotorq_refinery_commit_seconds", "refinery"),
				quantiles("robotorq_mint_commit_seconds", "mint"), quantiles("robotorq_vault_commit_seconds", "vault"),
			)},
			{Title: "Requests", Unit: "reqps", Width: 12, Queries: []Query{{"sum by (area, status) (rate(robotorq_web_request_duration_seconds_count[1m]))", "{{area}} {{status}}"}}},
			{Title: "Time to answer", Unit: "s", Width: 12, Queries: quantiles("robotorq_web_request_duration_seconds", "answer")},
			{Title: "Event streams", Unit: "short", Width: 12, Queries: []Query{{"robotorq_web_event_streams", "open"}, {"increase(robotorq_web_event_resets_total[5m])", "fell behind"}}},
		},
	}
}
