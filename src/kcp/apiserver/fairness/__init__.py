"""API priority and fairness: every request belongs to a flow, each flow to a priority level, and each level has its share of the server.

    matching   which FlowSchema a request falls under (pure)
    levels     the seats of each level, what it may borrow, its queues
    fairness   the objects as they are now, made into flows and levels; the classification of a request, remembered
    filter     the place in the request path; headers and refusals

Source: KEP-1040, k8s.io/apiserver/pkg/util/flowcontrol.
"""
