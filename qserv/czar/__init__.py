"""The czar: plans become messages, messages become answers, loads become visible."""
