// One half of the demonstration's page, as a person uses it.

/** A pane of the page; user is whose it is when the page is loaded. */
export class Pane {
	constructor(page, user) {
		this.root = page.locator(`[data-pane="${user}"]`);
	}

	part(name) {
		return this.root.locator(`[data-part="${name}"]`);
	}

	/** Takes a token of so many seconds, as the select offers them. */
	async takeToken(seconds) {
		await this.root.getByLabel("that lives").selectOption(String(seconds));
		await this.root.getByRole("button", { name: "Take a token" }).click();
		await this.countdown(/ends in \d:\d\d/);
	}

	async connect(carrier) {
		await this.root.getByLabel("The token travels").selectOption(carrier);
		await this.root.getByRole("button", { name: "Connect", exact: true }).click();
	}

	async say(text) {
		await this.root.getByLabel("Message", { exact: true }).fill(text);
		await this.root.getByRole("button", { name: "Send" }).click();
	}

	/** Resolves when the countdown shows a text that matches. */
	countdown(pattern) {
		return this.part("countdown").filter({ hasText: pattern }).waitFor();
	}

	/** Resolves when the state is one of open, closed, ended, connecting. */
	state(name) {
		return this.root.locator(`[data-part="state"][data-state="${name}"]`).waitFor();
	}

	/** Resolves when the log has a line with all of the texts. */
	async line(...texts) {
		let lines = this.part("log").locator("li");
		for (const text of texts) {
			lines = lines.filter({ hasText: text });
		}
		await lines.first().waitFor();
	}

	/** Resolves to what the page says of the socket's end, when it has ended. */
	async end() {
		await this.part("end").waitFor();
		const [code, reason, clean] = await Promise.all(
			["code", "reason", "clean"].map((name) => this.part(name).innerText()));
		return { code, reason, clean };
	}
}
