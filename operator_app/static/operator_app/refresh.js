/* Shows parts of a page anew now and then, while somebody can see it.

   An element with data-operator-refresh="10" says every ten seconds what the server says by then at the
   same address. Only what has changed is touched: a person stays where he is, what he has opened or
   scrolled stays so, and a screen reader does not read the same alert again. Without this script the page
   is just as it was loaded. */
"use strict";

/* Make a node like a fresh one, and leave what is alike. */
const merge = (shown, fresh) => {
    if (shown.isEqualNode(fresh)) {
        return;
    }
    if (shown.nodeName !== fresh.nodeName || !(shown instanceof HTMLElement || shown instanceof Text)) {
        shown.replaceWith(document.importNode(fresh, true));
    } else if (shown instanceof Text) {
        shown.data = fresh.data;
    } else {
        mergeAttributes(shown, fresh);
        mergeChildren(shown, fresh);
    }
};

const mergeAttributes = (shown, fresh) => {
    /* Whether details are open is for the person to say. */
    const isOurs = ({name}) => !(name === "open" && shown.matches("details"));
    Array.from(shown.attributes).filter(isOurs).forEach(({name}) => {
        if (!fresh.hasAttribute(name)) {
            shown.removeAttribute(name);
        }
    });
    Array.from(fresh.attributes).filter(isOurs).forEach(({name, value}) => {
        if (shown.getAttribute(name) !== value) {
            shown.setAttribute(name, value);
        }
    });
};

const mergeChildren = (shown, fresh) => {
    const before = Array.from(shown.childNodes);
    const after = Array.from(fresh.childNodes);
    before.slice(after.length).forEach((node) => node.remove());
    after.forEach((node, index) => {
        if (index < before.length) {
            merge(before[index], node);
        } else {
            shown.append(document.importNode(node, true));
        }
    });
};

const begin = () => {
    const live = document.querySelector("[data-operator-refresh]");
    const control = document.querySelector("[data-operator-refresh-control]");
    if (live === null) {
        return;
    }
    const pause = Number(live.dataset.operatorRefresh) * 1000;
    let stopped = false;
    let failing = false;
    let timer = null;
    let asking = null;

    const show = (text) => {
        const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-operator-refresh]");
        if (fresh === null) {
            throw new Error("The answer is another page.");
        }
        const wasInside = live.contains(document.activeElement);
        mergeChildren(live, fresh);
        if (wasInside && !live.contains(document.activeElement)) {
            /* What had the focus has gone: the next Tab goes on near it, not at the start of the page. */
            live.tabIndex = -1;
            live.focus({preventScroll: true});
        }
    };

    const plan = () => {
        clearTimeout(timer);
        if (!stopped && !document.hidden) {
            timer = setTimeout(refresh, pause);
        }
    };

    const refresh = async () => {
        asking?.abort();
        const mine = new AbortController();
        asking = mine;
        try {
            const answer = await fetch(location.href, {signal: mine.signal, credentials: "same-origin"});
            if (answer.redirected) {
                stopped = true;  /* Logged out meanwhile. */
            } else if (answer.ok) {
                show(await answer.text());
            } else {
                throw new Error(`The answer is ${answer.status}.`);
            }
            failing = false;
        } catch (error) {
            if (mine.signal.aborted) {
                return;  /* By whoever has planned something else. */
            }
            /* What is shown stays, and the server is asked again. */
            failing = true;
            console.warn("The page could not be refreshed.", error);
        }
        tell();
        plan();
    };

    const tell = () => {
        if (control === null) {
            return;
        }
        const button = control.querySelector("button");
        control.hidden = false;
        const status = control.querySelector("[role=status]");
        const {stopped: over, failing: old, running} = control.dataset;
        const words = stopped ? over : failing ? old : running;
        if (status.textContent !== words) {
            status.textContent = words;  /* Which is read out. */
        }
        button.textContent = stopped ? button.dataset.goOn : button.dataset.stop;
    };

    control?.querySelector("button").addEventListener("click", () => {
        stopped = !stopped;
        tell();
        if (stopped) {
            clearTimeout(timer);
            asking?.abort();
        } else {
            refresh();
        }
    });
    document.addEventListener("visibilitychange", () => {
        if (document.hidden) {
            clearTimeout(timer);
        } else if (!stopped) {
            refresh();
        }
    });
    tell();
    plan();
};

if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", begin);
} else {
    begin();
}
