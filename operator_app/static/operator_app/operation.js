/* Looks again for the stack that was asked for, while somebody sees the page. */
"use strict";

(() => {
    const EVERY = 1000; // Milliseconds between two looks.
    const AT_MOST = 60; // Looks: whoever has not answered by then does not live.
    let looks = 0;

    const section = () => document.querySelector("[data-operator-stack][data-operator-waits]");

    const look = async () => {
        const waiting = section();
        if (!waiting || looks >= AT_MOST) {
            return;
        }
        if (!document.hidden) {
            looks += 1;
            try {
                const answer = await fetch(waiting.dataset.operatorStack, {
                    credentials: "same-origin",
                    headers: { Accept: "text/html" },
                });
                const page = new DOMParser().parseFromString(await answer.text(), "text/html");
                const news = page.querySelector("[data-operator-stack]");
                // Only what is new: a reader's place and selection stay as they are.
                if (answer.ok && news && !news.hasAttribute("data-operator-waits")) {
                    waiting.replaceWith(document.adoptNode(news));
                    return;
                }
                if (answer.ok && !news) {
                    window.location.reload(); // It has ended meanwhile.
                    return;
                }
            } catch {
                // The server is away: look again.
            }
        }
        window.setTimeout(look, EVERY);
    };

    document.addEventListener("DOMContentLoaded", () => window.setTimeout(look, EVERY));
})();
